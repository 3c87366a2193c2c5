"""Where the simulator's rows come from: drawn from figures, or taken from a file of real rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.sample import draw
from data.statistics import Labels, Rows, load_statistics, read_rows
from monitoring.contract.config import Model

Draw = Callable[[np.random.Generator, int, Mapping[str, float]], tuple[Rows, Labels]]
Disturb = Callable[[np.random.Generator, Rows], Rows]


@dataclass(frozen=True)
class Source:
    """Rows to send: `draw(rng, rows, mix)` gives (rows, features) values and their labels."""

    baseline: Mapping[str, float]  # the categories' weights when nothing drifts; none for a regression
    draw: Draw
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of each categorical feature


def drawn(model: Model) -> Source:
    """Return a source that draws from the shipped figures; raise SampleDataError if they do not fit the config."""
    statistics = load_statistics(model)
    baseline = {name: float(of.count) for name, of in statistics.categories.items()}
    return Source(baseline, lambda rng, rows, mix: draw(statistics, rng, rows, mix))


def resampled(model: Model, path: Path, jitter: float) -> Source:
    """Return a source that takes rows of a Parquet file again and again; raise SampleDataError if it does not fit.

    Each time a row's numbers get normal noise of `jitter` times the feature's standard deviation (a smoothed bootstrap,
    Efron and Tibshirani 1993), so that no row comes twice exactly; its levels stay.
    """
    values, labels = read_rows(path, model)
    disturb = _noise(values, model, jitter)
    levels = _levels_of(values, model)
    if not model.categories:

        def draw_any(rng: np.random.Generator, rows: int, _mix: Mapping[str, float]) -> tuple[Rows, Labels]:
            chosen = rng.integers(0, len(values), rows)
            return disturb(rng, values[chosen]), labels[chosen]

        return Source({}, draw_any, levels)
    return _by_category(values, labels, disturb, levels)


def replayed(model: Model, path: Path) -> Source:
    """Return a source that takes a Parquet file's rows in their order, as they are, and begins again at the end.

    Raise SampleDataError if the file does not fit the config.
    """
    values, labels = read_rows(path, model)
    levels = _levels_of(values, model)
    names, counts = np.unique(labels, return_counts=True) if model.categories else ((), ())
    begin = 0

    def draw_next(_rng: np.random.Generator, rows: int, _mix: Mapping[str, float]) -> tuple[Rows, Labels]:
        nonlocal begin
        places = np.arange(begin, begin + rows) % len(values)
        begin += rows
        return values[places], labels[places]

    return Source({str(name): float(count) for name, count in zip(names, counts, strict=True)}, draw_next, levels)


def _levels_of(values: Rows, model: Model) -> dict[str, tuple[str, ...]]:
    """Return the levels of each categorical feature in rows (rows, features)."""
    columns = {name: values[:, model.features.index(name)] for name in model.of_kind("categorical")}
    return {name: tuple(sorted({level for level in column if level is not None})) for name, column in columns.items()}


def _noise(values: Rows, model: Model, jitter: float) -> Disturb:
    """Return what adds noise to the numbers of rows (rows, features)."""
    numeric = [at for at, name in enumerate(model.features) if model.kind(name).name == "numeric"]
    spread = jitter * np.nan_to_num(np.nanstd(values[:, numeric].astype(np.float64), axis=0)) if numeric else 0.0

    def disturb(rng: np.random.Generator, rows: Rows) -> Rows:
        after = rows.copy()
        numbers = rows[:, numeric].astype(np.float64)
        after[:, numeric] = numbers + rng.normal(size=numbers.shape) * spread
        return after

    return disturb


def _by_category(values: Rows, categories: Labels, disturb: Disturb, levels: Mapping[str, tuple[str, ...]]) -> Source:
    """Return a source whose rows are weighed by their categories."""
    names, counts = np.unique(categories, return_counts=True)
    of_row = np.searchsorted(names, categories)

    def draw_again(rng: np.random.Generator, rows: int, mix: Mapping[str, float]) -> tuple[Rows, Labels]:
        weights = np.array([mix.get(str(name), 0.0) for name in names]) / counts
        chosen = rng.choice(len(values), size=rows, p=weights[of_row] / weights[of_row].sum())
        return disturb(rng, values[chosen]), categories[chosen]

    return Source(dict(zip(names.tolist(), counts.tolist(), strict=True)), draw_again, levels)
