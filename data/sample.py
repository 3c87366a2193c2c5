"""Sample data drawn from a collection's figures, for a first start without data: `python -m data.sample --help`."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from data.statistics import Floats, SampleDataError, Statistics, load_statistics
from monitoring.contract.config import Model
from monitoring.contract.config_file import load_config
from monitoring.contract.exit_status import PASSES, run_command
from monitoring.contract.layout import Layout
from monitoring.contract.settings import Settings
from monitoring.contract.storage import replaced

SEED = 20_240_117


def draw(
    statistics: Statistics, rng: np.random.Generator, rows: int, mix: Mapping[str, float] | None = None
) -> tuple[Floats, npt.NDArray[np.str_]]:
    """Draw (rows, features) values and their categories: per category a normal with its mean and covariance.

    `mix` weighs the categories; without it they come as often as in the collection. Values are kept in the range
    that the collection has.
    """
    names = list(statistics.categories)
    weights = np.array([statistics.categories[n].count if mix is None else mix.get(n, 0.0) for n in names], dtype=float)
    chosen = rng.choice(len(names), size=rows, p=weights / weights.sum())
    values = np.empty((rows, len(statistics.features)))
    for index, name in enumerate(names):
        of, here = statistics.categories[name], chosen == index
        if not here.any():
            continue
        values[here] = rng.multivariate_normal(of.mean, of.covariance, size=here.sum(), method="cholesky")
    return np.clip(values, statistics.low, statistics.high), np.array(names, dtype=str)[chosen]


def draw_rows(
    statistics: Statistics, rng: np.random.Generator, rows: int, mix: Mapping[str, float] | None = None
) -> pa.Table:
    """Draw a table of features (float32) and target; see `draw`."""
    return _table(statistics, *draw(statistics, rng, rows, mix))


def draw_reference(model: Model, rows: int = 1000, seed: int = SEED) -> pa.Table:
    """Draw the sample reference without its predictions, with the collection's share of exact copies.

    The same seed gives the same table. Raises SampleDataError if there are no figures for the model's columns.
    """
    statistics = load_statistics(model)
    rng = np.random.default_rng(seed)
    values, categories = draw(statistics, rng, rows)
    copies = round(statistics.duplicates * rows)
    places = rng.permutation(rows)
    to, of = places[:copies], places[copies : 2 * copies]
    values[to], categories[to] = values[of], categories[of]
    return _table(statistics, values, categories)


def _table(statistics: Statistics, values: Floats, categories: npt.NDArray[np.str_]) -> pa.Table:
    columns = {name: pa.array(values[:, i], pa.float32()) for i, name in enumerate(statistics.features)}
    return pa.table({**columns, statistics.target: pa.array(categories.tolist(), pa.string())})


def main() -> int:
    """Draw a sample reference, without predictions: the flow `bootstrap` fills them in."""
    return run_command(_draw)


def _draw() -> int:
    settings = Settings.read()
    parser = argparse.ArgumentParser(prog="python -m data.sample", description=main.__doc__)
    parser.add_argument("--rows", type=int, default=1000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="the same seed draws the same rows")
    parser.add_argument("--output", type=Path, default=Layout(settings.data_dir).reference, help="default: %(default)s")
    options = parser.parse_args()
    table = draw_reference(load_config(settings.driftloop_config).model, options.rows, options.seed)
    try:
        with replaced(options.output, over_folder=False) as temporary:
            pq.write_table(table, temporary)
    except OSError as error:
        raise SampleDataError(f"{options.output}: cannot be written: {error.strerror}") from error
    print(f"{options.output}: {len(table)} rows")
    return PASSES


if __name__ == "__main__":
    sys.exit(main())
