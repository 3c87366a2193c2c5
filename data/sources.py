"""Where the simulator's rows come from: drawn from figures, or taken from a file of real rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.sample import draw
from data.statistics import Floats, load_statistics, read_rows
from monitoring.contract.config import Model

Draw = Callable[[np.random.Generator, int, Mapping[str, float]], tuple[Floats, npt.NDArray[np.str_]]]


@dataclass(frozen=True)
class Source:
    """Rows to send: `draw(rng, rows, mix)` gives (rows, features) values and their categories."""

    baseline: Mapping[str, float]  # the categories' weights when nothing drifts
    draw: Draw


def drawn(model: Model) -> Source:
    """Return a source that draws from the shipped figures; raise SampleDataError if they do not fit the config."""
    statistics = load_statistics(model)
    baseline = {name: float(of.count) for name, of in statistics.categories.items()}
    return Source(baseline, lambda rng, rows, mix: draw(statistics, rng, rows, mix))


def resampled(model: Model, path: Path, jitter: float) -> Source:
    """Return a source that takes rows of a Parquet file again and again; raise SampleDataError if it does not fit.

    Each time a row gets normal noise of `jitter` times the feature's standard deviation (a smoothed bootstrap, Efron
    and Tibshirani 1993), so that no row comes twice exactly.
    """
    values, categories = read_rows(path, model)
    spread = jitter * np.nan_to_num(np.nanstd(values, axis=0))
    names, counts = np.unique(categories, return_counts=True)
    of_row = np.searchsorted(names, categories)

    def draw_again(
        rng: np.random.Generator, rows: int, mix: Mapping[str, float]
    ) -> tuple[Floats, npt.NDArray[np.str_]]:
        weights = np.array([mix.get(str(name), 0.0) for name in names]) / counts
        chosen = rng.choice(len(values), size=rows, p=weights[of_row] / weights[of_row].sum())
        return values[chosen] + rng.normal(size=(rows, values.shape[1])) * spread, categories[chosen]

    return Source(dict(zip(names.tolist(), counts.tolist(), strict=True)), draw_again)
