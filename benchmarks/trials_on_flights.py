"""`python -m benchmarks.trials_on_flights`: trials on real flights in their true order, by rows and by blocks of time.

The champion has learned from flights of January 2013, the reference is of February, and the trial goes through April
and May, looked at after each 50 labels. What is printed stands in docs/rollout.md.
"""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from data.flights import read_flights
from monitoring.alarms.outcome_blocks import blocks_of
from monitoring.alarms.trial_test import Floats, TrialTest
from monitoring.contract.config import Model
from monitoring.contract.config_file import load_config
from monitoring.contract.layout import Layout
from monitoring.contract.reference import read_reference, write_reference
from monitoring.contract.schemas import TIMESTAMP

EXAMPLES = Path(__file__).parents[1] / "docs/examples"
LEVEL, LOOK = 0.05, 50  # evidence, and labels between two looks
DAY = 86_400_000_000  # microseconds
NUMBERS, LEVELS = ("dep_delay", "distance", "hour"), ("carrier", "origin")
CHALLENGERS = {  # the month that each has learned from, and of how many flights
    "other 3,000 flights of January": (1, 3000),
    "3,000 flights of March": (3, 3000),
    "300 flights of January": (1, 300),
}


@dataclass(frozen=True)
class Case:
    """A model of flights: its config, the labels (rows,), the estimator, and the loss of its answers."""

    config: Path
    labels: Floats
    estimator: Any
    loss: Callable[[Floats, Floats], Floats]


class Flights:
    """The flights in time order: times in microseconds (rows,), features (rows, features) as numbers."""

    def __init__(self) -> None:
        self.table = read_flights()
        self.times = self.table["timestamp"].cast(pa.int64()).to_numpy()
        codes = [pc.dictionary_encode(self.table[name].combine_chunks()).indices for name in LEVELS]
        columns = [*(self.table[name] for name in NUMBERS), *codes]
        self.features = np.column_stack([column.to_numpy() for column in columns]).astype(float)

    def months(self, first: int, after: int) -> Any:
        """Return the places of the flights from one month to before another."""
        begun, ended = (1e6 * datetime(2013, month, 1, tzinfo=UTC).timestamp() for month in (first, after))
        return np.flatnonzero((self.times >= begun) & (self.times < ended))

    def cases(self) -> dict[str, Case]:
        """Return the two examples' models."""
        late, minutes = (self.table[name].to_numpy().astype(float) for name in ("late", "arr_delay"))
        sorts = HistGradientBoostingClassifier(max_iter=60, random_state=0)
        counts = HistGradientBoostingRegressor(loss="absolute_error", max_iter=60, random_state=0)
        wrong = Case(EXAMPLES / "flights_late.yml", late, sorts, lambda p, y: (p != y).astype(float))
        off = Case(EXAMPLES / "flights.yml", minutes, counts, lambda p, y: np.abs(p - y))
        return {"late or not": wrong, "minutes": off}


def block_seconds(flights: Flights, places: Any, model: Model, predicted: Floats, labels: Floats) -> float:
    """Return the length of the blocks that a reference of these rows tells; 0 if it tells none."""
    table = flights.table.take(places)
    columns = {name: table[name] for name in model.features}
    for name, values in ((model.prediction, predicted), (model.target, labels)):
        as_text = [str(bool(value)).lower() for value in values]
        columns[name] = pa.array(values if model.task == "regression" else as_text)
    columns["timestamp"] = table["timestamp"].cast(TIMESTAMP)
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        write_reference(layout, model, pa.table(columns), origin="user", model_version="1")
        blocks = blocks_of(read_reference(layout, model), model)
    return blocks.seconds if blocks else 0.0


def end_of(differences: Floats, times: Any, block: float) -> str:
    """Return how a trial of these differences (rows,) ends."""
    test, enough = TrialTest(block), -math.log10(LEVEL)
    for first in range(0, len(times), LOOK):
        test.add(differences[first : first + LOOK], times[first : first + LOOK])
        last = times[min(first + LOOK, len(times)) - 1]
        for decision in ("promote", "drop"):
            if test.score(decision) >= enough:
                return f"{decision} after {test.rows:,} labels, {(last - times[0]) / DAY:.1f} days"
    return "undecided"


def compare(flights: Flights, what: str, case: Case) -> None:
    """Print how each challenger's trial ends."""
    drawn = np.random.default_rng(7)

    def trained(month: int, rows: int) -> Any:
        places = drawn.choice(flights.months(month, month + 1), rows, replace=False)
        return clone(case.estimator).fit(flights.features[places], case.labels[places])

    def losses(model: Any, places: Any) -> Floats:
        return case.loss(model.predict(flights.features[places]), case.labels[places])

    champion = trained(1, 3000)
    challengers = {name: trained(*of) for name, of in CHALLENGERS.items()}
    february, trial = flights.months(2, 3), flights.months(4, 6)
    model = load_config(case.config).model
    bound = 1.0 if model.task == "classification" else float(np.quantile(losses(champion, february), 0.999))
    some = np.sort(drawn.choice(february, 4000, replace=False))
    seconds = block_seconds(flights, some, model, champion.predict(flights.features[some]), case.labels[some])
    of_champion = losses(champion, trial).clip(max=bound)
    length, mean = seconds / 60, of_champion.mean()
    print(f"{what}: {len(trial):,} flights; blocks of {length:g} minutes; loss of the champion {mean:.4f}")
    for name, challenger in challengers.items():
        loss = losses(challenger, trial).clip(max=bound)
        for block in sorted({0.0, seconds}):
            end = end_of((of_champion - loss) / bound, flights.times[trial], block)
            print(f"  {name:31} loss {loss.mean():.4f}, by {'blocks' if block else 'rows'}: {end}")


def main() -> None:
    flights = Flights()
    for what, case in flights.cases().items():
        compare(flights, what, case)


if __name__ == "__main__":
    main()
