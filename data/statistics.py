"""Figures of a collection of labelled rows, enough to draw sample data from: `python -m data.statistics --help`."""

import argparse
import json
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from monitoring.contract.config import Model
from monitoring.contract.config_file import load_config
from monitoring.contract.errors import DriftloopError
from monitoring.contract.exit_status import PASSES, run_command
from monitoring.contract.schemas import reference_schema
from monitoring.contract.settings import Settings
from monitoring.contract.values import UnfitColumnError, conform, require_once

SHIPPED = Path(__file__).with_name("genres.json")

_LEVELS = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[Any]  # (rows, features): floats, or objects where there are levels; NaN or None is missing
Labels = npt.NDArray[Any]  # (rows,): categories, or numbers


class SampleDataError(DriftloopError):
    """Rows or figures for sample data are absent or do not fit the config."""


@dataclass(frozen=True)
class Category:
    """One category's rows: how many, their mean vector and their covariance matrix (features, features)."""

    count: int
    mean: Floats
    covariance: Floats


@dataclass(frozen=True)
class Statistics:
    """A collection's figures; vectors and matrices are in the order of `features`."""

    features: tuple[str, ...]
    target: str
    duplicates: float  # share of the rows that are an exact copy of an earlier one
    low: Floats
    high: Floats
    categories: dict[str, Category]

    def fit(self, model: Model) -> Self:
        """Return the figures for the config's features and categories, in its order; raise SampleDataError."""
        lacking = [name for name in model.features if name not in self.features]
        lacking += [name for name in model.categories if name not in self.categories]
        if lacking:
            raise SampleDataError(
                f"there is no sample data for this config: the figures know nothing of {', '.join(lacking)}; "
                "put your own reference.parquet into DATA_DIR"
            )
        at = [self.features.index(name) for name in model.features]
        categories = {}
        for name in model.categories:
            of = self.categories[name]
            categories[name] = Category(of.count, of.mean[at], of.covariance[np.ix_(at, at)])
        return replace(
            self,
            features=model.features,
            target=model.target,
            low=self.low[at],
            high=self.high[at],
            categories=categories,
        )


def has_figures(model: Model) -> bool:
    """Say whether the shipped figures fit the config."""
    try:
        load_statistics(model)
    except SampleDataError:
        return False
    return True


def load_statistics(model: Model, path: Path = SHIPPED) -> Statistics:
    """Read figures written by this module, for the config's features; raise SampleDataError if they do not fit."""
    content = json.loads(path.read_text(encoding="utf-8"))
    quantiles = np.array([content["quantiles"][name] for name in content["features"]])
    return Statistics(
        features=tuple(content["features"]),
        target=model.target,
        duplicates=content["duplicates_share"],
        low=quantiles[:, 0],
        high=quantiles[:, -1],
        categories={
            name: Category(of["count"], np.array(of["mean"]), np.array(of["covariance"]))
            for name, of in content["categories"].items()
        },
    ).fit(model)


def read_rows(path: Path, model: Model) -> tuple[Rows, Labels]:
    """Read labelled rows as (rows, features), and their labels; raise SampleDataError."""
    try:
        with pq.ParquetFile(path) as file:
            require_once(file.schema_arrow, (*model.features, model.target))
            table = file.read()
    except UnfitColumnError as error:
        raise SampleDataError(f"{path}: {error}") from error
    except (pa.ArrowException, OSError) as error:
        raise SampleDataError(f"{path}: is not a readable Parquet file: {error}") from error
    lacking = [name for name in (*model.features, model.target) if name not in table.column_names]
    if lacking:
        raise SampleDataError(f"{path}: lacks the columns {', '.join(lacking)}")
    try:
        table = conform(table, reference_schema(model))
    except UnfitColumnError as error:
        raise SampleDataError(f"{path}: {error}") from error
    table = table.filter(table[model.target].is_valid())
    flaws = [f"{model.target} {flaw}" for flaw in model.rules.flaws(table[model.target], model.categories)]
    if flaws or not len(table):
        raise SampleDataError(f"{path}: {'; '.join(flaws) or 'no row has a label'}")
    labels = np.array(table[model.target].to_pylist(), dtype=str if model.categories else np.float64)
    columns = [_values(table[name]) for name in model.features]
    rows = np.empty((len(table), len(columns)), object if model.of_kind("categorical") else np.float64)
    for at, column in enumerate(columns):
        rows[:, at] = column
    return rows, labels


def _values(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return a column's texts as objects, or its numbers."""
    if pa.types.is_string(column.type):
        return np.array(column.to_pylist(), dtype=object)
    return np.asarray(column.cast(pa.float64()).to_numpy())


def describe(values: Floats, categories: npt.NDArray[np.str_], model: Model) -> dict[str, Any]:
    """Compute the figures of complete rows (rows, features), rounded to six significant digits."""
    quantiles = np.quantile(values, _LEVELS, axis=0).T
    return {
        "rows": len(values),
        "features": list(model.features),
        "duplicates_share": _rounded(1 - len(np.unique(values, axis=0)) / len(values)),
        "quantile_levels": list(_LEVELS),
        "quantiles": dict(zip(model.features, _rounded(quantiles), strict=True)),
        "categories": {
            name: {
                "count": int((categories == name).sum()),
                "mean": _rounded(values[categories == name].mean(axis=0)),
                "covariance": _rounded(np.cov(values[categories == name], rowvar=False)),
            }
            for name in sorted(model.categories)
        },
    }


def _rounded(values: Any) -> Any:
    """Round to six significant digits: far below the figures' own uncertainty, and stable across machines."""
    if np.ndim(values):
        return [_rounded(value) for value in values]
    return float(f"{values:.6g}")


def dump(figures: dict[str, Any]) -> str:
    """Return the figures as JSON with one vector a line, so that a change is readable."""
    text = json.dumps(figures, indent=1, sort_keys=True)
    return re.sub(r"\[[^\[\]]*\]", lambda vector: " ".join(vector[0].split()), text) + "\n"


def main() -> int:
    """Compute the figures of a Parquet file of labelled rows."""
    parser = argparse.ArgumentParser(prog="python -m data.statistics", description=main.__doc__)
    parser.add_argument("--input", type=Path, required=True, help="Parquet file with the config's features and target")
    parser.add_argument("--output", type=Path, default=SHIPPED, help="JSON file (default: %(default)s)")
    options = parser.parse_args()
    return run_command(lambda: _compute(options))


def _compute(options: argparse.Namespace) -> int:
    model = load_config(Settings.read().driftloop_config).model
    if model.task == "regression" or model.of_kind("categorical"):
        raise SampleDataError(
            "figures are of numbers by category; of other models the simulator sends rows of the reference again"
        )
    values, categories = read_rows(options.input, model)
    complete = ~np.isnan(values).any(axis=1)
    figures = describe(values[complete], categories[complete], model)
    try:
        options.output.write_text(dump(figures), encoding="utf-8")
    except OSError as error:
        raise SampleDataError(f"{options.output}: cannot be written: {error.strerror}") from error
    print(f"{options.output}: figures of {figures['rows']} rows")
    return PASSES


if __name__ == "__main__":
    sys.exit(main())
