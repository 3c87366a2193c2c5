"""`python -m monitoring suggest-tests`: a `tests:` section for config.yml, learned from the reference.

A window of the reference's own kind shall fail any of the suggested tests, but those of drift, in at most RATE of all
cases: each bound is a quantile of what such a window holds, at an equal share of RATE. The reference is a sample too,
so the bounds are predictive: they know how far a share or a mean may lie from what the reference shows.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil, floor, inf, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from monitoring.contract.config import Config
from monitoring.contract.errors import DriftloopError
from monitoring.contract.exit_status import PASSES
from monitoring.contract.layout import Layout
from monitoring.contract.reference import Performance, Reference, read_reference
from monitoring.offline.commands import load_reference
from monitoring.profile.columns import LevelColumn, NumericColumn, column_of, columns_of
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.profile.profile import Profile

RATE = 0.01  # of windows like the reference that fail any of the tests
FEWEST = 2  # numbers that say anything of a range, or of a mean
DECIMALS = 100  # Evidently rounds a mean to two before it is compared
PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
REPETITIONS, RANGE, MEAN = "TestNumberOfDuplicatedRows", "TestShareOfOutRangeValues", "TestColumnValueMean"
UNLABELLED = "the reference has no rows with a prediction and a label"
MOST_WIDENED = 1.5  # of normal bounds, by skewness: beyond this a mean of so many rows is far from normal
WORDS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")  # which YAML reads as something else


@dataclass(frozen=True)
class Suggestion:
    """An entry of `tests`, and where its bound comes from."""

    test: str
    condition: Mapping[str, float | str]
    reason: str

    def line(self) -> str:
        """Return the entry as YAML, with its reason as a comment."""
        given = ", ".join(f"{key}: {_written(value)}" for key, value in self.condition.items())
        entry = f"{self.test}: {{{given}}}" if given else self.test
        return f"  - {entry}  # {self.reason}"


@dataclass(frozen=True)
class LeftOut:
    """A test that the reference suggests no bound for, and why."""

    test: str
    column: str | None
    reason: str

    def line(self) -> str:
        """Return it as a comment of YAML."""
        of = f" of {_written(self.column)}" if self.column else ""
        return f"  # {self.test}{of} is left out: {self.reason}"


Found = Iterator[Suggestion | LeftOut]


def _written(value: float | str) -> str:
    if isinstance(value, str):
        plain = PLAIN.fullmatch(value) and value.lower() not in WORDS
        return value if plain else json.dumps(value, ensure_ascii=False)
    text = f"{value:.17g}" if float(f"{value:.10g}") != value else f"{value:.10g}"
    return text if "." in text else text.replace("e", ".0e")  # YAML reads 1e-05 as a text


def add_suggestions(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's options."""
    suggest = commands.add_parser("suggest-tests", help="print a `tests` section learned from the reference")
    suggest.add_argument("--config", type=Path, help="default: DRIFTLOOP_CONFIG")
    suggest.add_argument("--reference", help="a Parquet file or its URI; default: the one in DATA_DIR")
    suggest.set_defaults(run=suggest_tests)


def suggest_tests(options: argparse.Namespace, config: Config) -> int:
    """Print the section."""
    if options.reference:
        source, reference = options.reference, load_reference(options.reference, config, predicted=False)
    else:
        layout = Layout(options.settings.data_dir)
        source, reference = str(layout.reference), read_reference(layout, config.model, predicted=False)
    sys.stdout.writelines(f"{line}\n" for line in section(json.dumps(source), reference, config))
    return PASSES


def section(source: str, reference: Reference, config: Config) -> Iterator[str]:
    """Yield the lines of a `tests` section."""
    rows, sized = _window(config)
    yield f"# Learned from {source}, {len(reference.table):,} rows, by `python -m monitoring suggest-tests`."
    yield f"# Bounds are for windows of {rows:,} rows ({sized}), and for {config.minimum_labels:,} labels"
    yield f"# (minimum_labels). At most {RATE:.0%} of such windows of the reference's own kind should fail any of the"
    yield "# tests, those of drift aside, if their rows do not depend on each other."
    yield "tests:"
    yield from (one.line() for one in suggestions(reference, config))


def _window(config: Config) -> tuple[int, str]:
    """Return the rows of the windows that bounds are for: of a duration's, the fewest that are judged."""
    if config.window.rows is not None:
        return config.window.rows, "window.rows"
    return max(1, config.minimum_rows), "minimum_rows: a window of a duration has at least these"


def suggestions(reference: Reference, config: Config) -> list[Suggestion | LeftOut]:
    """Return the tests that a reference suggests, and those that it has too little for."""
    grid = grid_of(config.model, reference.table)
    profile = profile_rows(grid, reference.table)
    if not profile.rows:
        raise DriftloopError("the reference has no rows: there is nothing to learn from")
    number = sum(2 + (config.model.kind(name).name == "numeric") for name in config.model.features) + 3
    rows, _ = _window(config)
    learner = _Learner(config, reference, profile, rows, RATE / number)
    return [*learner.of_table(), *learner.of_columns(), *learner.of_drift(), *learner.of_labels()]


@dataclass(frozen=True)
class _Learner:
    """Learns bounds for windows of so many rows, each of which such a window breaks at the level."""

    config: Config
    reference: Reference
    profile: Profile
    rows: int
    level: float

    def of_table(self) -> Found:
        """Yield the tests of all columns together."""
        yield Suggestion("TestColumnsType", {}, "columns hold what their type says")
        *features, predicted = columns_of(self.profile.grid)
        columns = [*features, *([predicted] if predicted.judged(self.profile) else [])]  # before a first start none is
        steady = sum(self._share_of_commonest(column) ** self.rows > self.level for column in columns)
        constant = sum(column.constant(self.profile) for column in columns)
        said = f"reference: {constant} constant" + (
            f"; {steady - constant} may be so in a window by chance" if steady > constant else ""
        )
        yield Suggestion("TestNumberOfConstantColumns", {"lte": steady}, said)
        if self.config.window.rows is not None:
            yield self._of_repetitions()
        else:
            yield LeftOut(REPETITIONS, None, "how many rows repeat grows with a window's rows, and a duration's vary")

    def _of_repetitions(self) -> Suggestion:
        repeated, all_rows = self.profile.duplicated or 0, self.profile.rows
        ratio = self.rows / all_rows
        growth = max(ratio, ratio * ratio)  # of repetitions with the rows, whatever brings them about
        most = int(stats.nbinom.isf(self.level, repeated + 0.5, 1 / (1 + growth)))
        condition = {"lte": min(most, self.rows)}
        return Suggestion(REPETITIONS, condition, f"reference: {repeated:,} of {all_rows:,} rows")

    def _share_of_commonest(self, column: Any) -> float:
        """Return the share of rows that a window may hold alone and be constant: missing values do not count."""
        if isinstance(column, NumericColumn):
            commonest = int(self.profile.column(column.index)[1::2].max(initial=0))
        else:
            commonest = max(column.counts(self.profile).values(), default=0)
        return float((commonest + column.void(self.profile).missing) / self.profile.rows)

    def of_columns(self) -> Found:
        """Yield the tests of single features."""
        for name in self.config.model.features:
            column = column_of(self.profile.grid, name)
            missing = column.void(self.profile).missing
            shown = f"reference: {missing:,} of {self.profile.rows:,} missing"
            lte = self._share(missing + 0.5, self.profile.rows - missing + 0.5, self.rows)
            yield Suggestion("TestColumnShareOfMissingValues", {"column": name, "lte": lte}, shown)
            if isinstance(column, LevelColumn):
                yield self._of_levels(column, missing)
            elif isinstance(column, NumericColumn):
                yield from self._of_numbers(column)

    def _share(self, yes: float, no: float, rows: int) -> float:
        """Return the share of so many rows that is exceeded at the level, of a share known to Beta(yes, no)."""
        most = int(stats.betabinom.isf(self.level, rows, yes, no))
        return ceil(most / rows * 1e6) / 1e6

    def _of_levels(self, column: LevelColumn, missing: int) -> Suggestion:
        """Return the test of values that the reference does not hold; a missing one is none of its levels either.

        Levels that the reference does not hold have together about as many rows as those that it holds once (Good
        1953, who names Turing).
        """
        once = sum(count == 1 for count in column.known(self.profile).values())
        other = once + missing
        lte = self._share(other + 1, self.profile.rows - other + 1, self.rows)
        levels = f"reference: {len(column.known(self.profile)):,} levels, {once:,} of them once"
        said = f"{levels}; {missing:,} missing, which are in no list" if missing else levels
        return Suggestion("TestShareOfOutListValues", {"column": column.name, "lte": lte}, said)

    def _of_numbers(self, column: NumericColumn) -> Found:
        """Yield the tests of range and mean.

        Of any continuous distribution the share that lies beyond the least and the greatest of m values is
        Beta(2, m - 1) (Wilks 1941).
        """
        number = column.judged(self.profile)
        judged = int(stats.binom.ppf(self.level, self.rows, number / self.profile.rows))
        if number < FEWEST or not judged:
            reason = f"the reference holds {number:,} values, and a window may hold none, of which nothing can be said"
            yield from (LeftOut(test, column.name, reason) for test in (RANGE, MEAN))
            return
        low, high = column.bounds(self.profile)
        lte = self._share(2, number - 1, judged)
        said = f"reference: {low:.6g} to {high:.6g}"
        yield Suggestion(RANGE, {"column": column.name, "lte": lte}, said)
        yield self._of_mean(column.name, judged)

    def _of_mean(self, name: str, judged: int) -> Suggestion | LeftOut:
        values = self.reference.table[name].to_numpy().astype(np.float64)
        values = values[np.isfinite(values)]
        with np.errstate(over="ignore"):
            spread = float(values.std())
        if not 1 <= spread * DECIMALS < inf:
            reason = f"it is rounded to two decimals, and the values deviate by {spread:.3g}"
            return LeftOut(MEAN, name, reason)
        least, greatest, errors = _mean_bounds(values, judged, self.level)
        if errors > MOST_WIDENED * stats.norm.isf(self.level / 2):
            return LeftOut(MEAN, name, f"the few largest values decide the mean of {judged:,} rows")
        condition = {"gte": floor(least * DECIMALS) / DECIMALS, "lte": ceil(greatest * DECIMALS) / DECIMALS}
        said = f"reference: mean {values.mean():.6g}; bounds of {errors:.1f} standard errors"
        return Suggestion(MEAN, {"column": name, **condition}, said)

    def of_drift(self) -> Found:
        """Yield the tests of drift, whose thresholds are those of the section `drift`."""
        features = self.config.model.features
        tests = [self.config.drift_test(name) for name in features]
        chance = max((test.threshold for test in tests if not test.is_distance), default=0.0)
        most = int(stats.binom.isf(self.level, len(features), chance)) + 1
        said = f"as many of {len(features)} lie below {chance:g} by chance hardly ever, if they are independent"
        yield Suggestion("TestNumberOfDriftedColumns", {"lt": most}, said)
        yield Suggestion("TestColumnDrift", {}, "a p-value below its threshold alone is no alarm: docs/alarms.md")

    def of_labels(self) -> Found:
        """Yield the test of the labels, from what the champion achieved on unseen rows, or on the reference's."""
        performance, labels = self.reference.performance, max(1, self.config.minimum_labels)
        of = "on unseen rows" if performance else "on the reference's rows, which the model may have learned from"
        if self.config.model.task == "regression":
            yield from self._of_errors(performance, labels, of)
            return
        rows = performance.rows if performance else self.profile.confusion.total()
        right = sum(count for (label, answer), count in self.profile.confusion.items() if label == answer)
        if performance and performance.accuracy is not None:
            right = round(performance.accuracy * rows)
        if rows:
            least = int(stats.betabinom.ppf(self.level, labels, right + 0.5, rows - right + 0.5))
            gte = floor(least / labels * 1e6) / 1e6
            yield Suggestion("TestAccuracyScore", {"gte": gte}, f"{right / rows:.4g} of {rows:,} {of}")
        else:
            yield LeftOut("TestAccuracyScore", None, UNLABELLED)

    def _of_errors(self, performance: Performance | None, labels: int, of: str) -> Found:
        model = self.config.model
        errors = np.empty(0)
        if {model.prediction, model.target} <= set(self.reference.table.column_names):
            answers, targets = (
                self.reference.table[name].to_numpy().astype(np.float64) for name in (model.prediction, model.target)
            )
            errors = np.abs(answers - targets)
            errors = errors[np.isfinite(errors)]
        if len(errors) < FEWEST:
            yield LeftOut("TestValueMAE", None, UNLABELLED)
        else:
            _, most, width = _mean_bounds(errors, labels, self.level)
            promised = performance.mae if performance and performance.mae is not None else float(errors.mean())
            lte = float(f"{max(most, most - errors.mean() + promised):.4g}")
            said = f"{promised:.4g} {of}; {width:.1f} standard errors above"
            yield Suggestion("TestValueMAE", {"lte": lte}, said)


def _mean_bounds(values: npt.NDArray[np.float64], rows: int, level: float) -> tuple[float, float, float]:
    """Return bounds of the mean of so many more values, one of which it breaks at the level, in standard errors too.

    The normal quantile is widened by the values' skewness (Cornish and Fisher 1938).
    """
    error = float(values.std(ddof=1)) * sqrt(1 / rows + 1 / len(values))
    normal = float(stats.norm.isf(level / 2))
    skewness = abs(float(stats.skew(values))) if error > 0 else 0.0
    widened = normal + skewness / (6 * sqrt(rows)) * (normal**2 - 1)
    return float(values.mean()) - widened * error, float(values.mean()) + widened * error, widened
