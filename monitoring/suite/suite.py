"""Evidently's TestSuite, made from config.yml: the one module that knows Evidently.

Everything that Evidently would choose by itself is pinned: its choice changes with the reference's size, and its
default conditions with the reference's content.
"""

import html
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from evidently.legacy import tests as evidently_tests
from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
from evidently.legacy.core import ColumnType
from evidently.legacy.pipeline.column_mapping import ColumnMapping
from evidently.legacy.renderers.base_renderer import RenderersDefinitions, TestHtmlInfo, TestRenderer
from evidently.legacy.suite.base_suite import find_test_renderer
from evidently.legacy.test_suite import TestSuite
from evidently.legacy.tests.base_test import TestStatus
from evidently.legacy.tests.regression_performance_tests import BaseRegressionPerformanceMetricsTest
from scipy import stats

from monitoring.contract.config import Config, Model, SuiteEntry
from monitoring.contract.errors import DriftloopError
from monitoring.contract.kinds import DISTANCES
from monitoring.contract.suite_tests import OF_CATEGORY, OF_COLUMN, OF_PROBABILITIES, QUANTILE_TESTS
from monitoring.profile.columns import Column, NumericColumn, Void, column_of, columns_of
from monitoring.profile.profile import Profile
from monitoring.profile.quantiles import quantile
from monitoring.profile.two_sample_tests import total_variation, two_sample_chi_square
from monitoring.snapshot.error_shapes import shape_errors
from monitoring.snapshot.segments import Segments, compare_groups
from monitoring.snapshot.shapes import shape_of
from monitoring.snapshot.snapshot import COLUMN_TEST, TABLE_TESTS, ColumnDrift, ErrorShape, Status, Verdict
from monitoring.suite.engine import ProfileEngine
from monitoring.suite.error_section import error_section
from monitoring.suite.frames import Frames
from monitoring.suite.score_tests import not_scored, score_mapping, score_tests
from monitoring.suite.segment_section import segment_section

NewEngine = Callable[[], ProfileEngine]
Measure = Callable[[pd.Series, pd.Series], float]

DUPLICATES_TEST = "TestNumberOfDuplicatedRows"
PERCENTAGE_TEST = "TestValueMAPE"
# what Evidently counts and does not name: whether a column is one of those
_COUNTED: Mapping[str, Callable[[Column, Profile], bool]] = {
    "TestColumnsType": lambda column, rows: column.mismatched(rows),
    "TestNumberOfConstantColumns": lambda column, rows: column.constant(rows),
    "TestNumberOfColumnsWithMissingValues": lambda column, rows: column.void(rows) != Void(0, 0, 0, 0),
}
_NAMED = 5
# the report's data: JSON in a script, which a name with `</script>` in it would end
_DATA = re.compile(r"^ *var (evidently_dashboard|additional_graphs)_\w+ = .*$", re.MULTILINE)
_BODY = re.compile(r"<body[^>]*>")
_NOTE = "margin: 1em; padding: 1em; border-left: 6px solid #b26a00; font-family: sans-serif"
CONDITIONS = {"eq": "exactly ", "not_eq": "not ", "lt": "below ", "lte": "at most ", "gt": "above ", "gte": "at least "}


def _register(name: str, title: str, kind: ColumnType, measure: Measure) -> None:
    """Give Evidently a drift test, by what it measures of the reference's and the current values."""

    def judged(
        reference_data: pd.Series, current_data: pd.Series, _type: ColumnType, threshold: float
    ) -> tuple[float, bool]:
        found = measure(reference_data, current_data)
        return found, found >= threshold if name in DISTANCES else found < threshold

    register_stattest(StatTest(name=name, display_name=title, allowed_feature_types=[kind]), default_impl=judged)


def _of_counts(compare: Callable[[Mapping[str, int], Mapping[str, int]], float]) -> Measure:
    return lambda reference, current: compare(Counter(reference.dropna()), Counter(current.dropna()))


def _mann_whitney_two_sided(reference: pd.Series, current: pd.Series) -> float:
    return float(stats.mannwhitneyu(reference, current, alternative="two-sided").pvalue)


_register(
    "chi_square_two_sample",
    "two-sample chi-square p_value",
    ColumnType.Categorical,
    _of_counts(two_sample_chi_square),
)
# Evidently's own, TVD, is the p-value of a thousand permutations of the rows.
_register("total_variation", "total variation distance", ColumnType.Categorical, _of_counts(total_variation))
# In the place of Evidently's own, which is one-sided: it would not see values that fall.
_register("mannw", "two-sided Mann-Whitney U-rank p_value", ColumnType.Numerical, _mann_whitney_two_sided)


class _WithoutErrors(TestRenderer):  # type: ignore[misc]  # Evidently is not followed by mypy
    """Renders a test that could not run, or has no pictures, as its words alone: Evidently's renderer would raise."""

    def __init__(self, renderer: TestRenderer) -> None:
        self._renderer = renderer
        super().__init__()

    def render_html(self, obj: Any) -> TestHtmlInfo:
        if obj.get_result().status == TestStatus.ERROR or not _is_pictured(obj):
            return super().render_html(obj)
        self._renderer.color_options = self.color_options
        return self._renderer.render_html(obj)


def _is_pictured(test: Any) -> bool:
    """Return False for a test on profiles that would draw what they do not know: errors, or a ROC curve."""
    if isinstance(test, evidently_tests.TestRocAuc):
        return test.metric.get_result().current.plot_data is not None
    if not isinstance(test, BaseRegressionPerformanceMetricsTest):
        return True
    return hasattr(test.metric.get_result(), "hist_for_plot")


@dataclass(frozen=True)
class SuiteRun:
    """A suite that has run: verdicts under our names, drift and scores at full precision."""

    verdicts: tuple[Verdict, ...]
    drift: Mapping[str, ColumnDrift]
    scores: Mapping[str, float]  # of the label tests, by their names
    suite: TestSuite
    error_shape: ErrorShape | None = None  # of a regression with enough labels
    segments: Segments | None = None  # where the config names some

    @property
    def accuracy(self) -> float | None:
        """Return the accuracy, if a test asks for it."""
        return self.scores.get("TestAccuracyScore")

    @property
    def f1(self) -> float | None:
        """Return the F1, if a test asks for it."""
        return self.scores.get("TestF1Score")

    def html(self) -> str:
        """Render Evidently's own report: one file that loads nothing."""
        context = self.suite._inner_suite.context  # noqa: SLF001
        kinds = {type(test) for test in context.test_results}
        renderers = {kind: _WithoutErrors(find_test_renderer(kind, context.renderers)) for kind in kinds}
        context.renderers = RenderersDefinitions(typed_renderers=renderers)
        report = _DATA.sub(lambda data: data[0].replace("<", r"\u003c"), str(self.suite.get_html()))
        ours = self._not_run() + (error_section(self.error_shape) if self.error_shape else "")
        ours += segment_section(self.segments) if self.segments else ""
        return _BODY.sub(lambda body: body[0] + ours, report, count=1)

    def _not_run(self) -> str:
        """Return our own words about the tests that Evidently's report knows nothing of; nothing if there are none."""
        skipped = [v for v in self.verdicts if v.skipped]
        if not skipped:
            return ""
        items = "".join(f"<li><b>{html.escape(v.test)}</b>: {html.escape(v.found)}</li>" for v in skipped)
        return f'<section style="{_NOTE}"><b>Tests that were skipped: {len(skipped)}</b><ul>{items}</ul></section>'


@dataclass(frozen=True)
class _Outcome:
    """One of Evidently's tests under our name, with its result."""

    name: str
    test: Any
    result: Any

    @property
    def status(self) -> Status:
        status: Status = self.result.status.value.lower()
        return status


def run_suite(
    config: Config, reference: Profile, current: Profile, frames: Frames | None = None, *, drawn: bool = True
) -> SuiteRun:
    """Run the configured tests: the data tests on all rows, the label tests on the labelled ones.

    They run on the profiles, or with `frames` on these same rows by Evidently's own engine. What is not `drawn` cannot
    be rendered. Raise DriftloopError if
    one asks for repeated rows and the profile does not tell.
    """
    if current.duplicated is None and any(entry.name == DUPLICATES_TEST for entry in config.tests):
        raise DriftloopError(
            f"{DUPLICATES_TEST} cannot be computed: nobody looked for repeated rows in this profile; "
            "make one that did, or take the test out of config.yml"
        )
    engine = partial(ProfileEngine, drawn=drawn)
    suite, outcomes = _run_data_tests(config, reference, current, frames or engine)
    scores: Mapping[str, float] = {}
    skipped: tuple[Verdict, ...] = ()
    if current.labelled < config.minimum_labels:
        reason = _why_no_scores(config, current)
        skipped = tuple(
            Verdict(entry.key, "skipped", reason)
            for entry in config.tests
            if entry.name in config.model.rules.label_tests
        )
    else:
        label_suite, label_outcomes = _run_label_tests(config, reference, current, frames or engine)
        scores = {o.name: float(o.result.parameters.value) for o in label_outcomes if o.status != "error"}
        score_suite, score_outcomes = _run_score_tests(config, reference, current, frames or engine)
        outcomes += label_outcomes + score_outcomes
        skipped = (*_without_rows(config, current), *not_scored(config, reference, current))
        # One report for all tests: each renders from its own context, so they can stand in one suite.
        for other in (label_suite, score_suite):
            suite._inner_suite.context.test_results.update(other._inner_suite.context.test_results)  # noqa: SLF001
    drift = {o.name: _column_drift(config, o) for o in outcomes if o.name.startswith(COLUMN_TEST)}
    return SuiteRun(
        verdicts=(
            *(
                Verdict(
                    o.name, o.status, _found(o, drift.get(o.name), reference, current) + _beside(o, current, frames)
                )
                for o in outcomes
            ),
            *skipped,
        ),
        drift={d.column: d for d in drift.values()},
        scores=scores,
        suite=suite,
        error_shape=shape_errors(reference, current) if _has_errors(config, current) else None,
        segments=compare_groups(reference, current),
    )


def _has_errors(config: Config, current: Profile) -> bool:
    return 0 < current.errors.rows >= config.minimum_labels


def _without_rows(config: Config, current: Profile) -> tuple[Verdict, ...]:
    """Return the tests of categories that no labelled row has, and none was answered with: nobody can score those."""
    present, reason = _present(current), "not run: no labelled row has {0}, and none was answered with it"
    absent = {
        f"{entry.name}:{name}": name
        for entry in config.tests
        if entry.name in OF_CATEGORY
        for name in _categories(entry, config.model)
        if name not in present
    }
    return tuple(Verdict(test, "skipped", reason.format(name)) for test, name in absent.items())


def _present(current: Profile) -> set[str]:
    """Return the categories that occur among labels or answers of labelled rows."""
    return {name for pair in current.confusion for name in pair}


def _categories(entry: SuiteEntry, model: Model) -> tuple[str, ...]:
    return model.categories if entry.category is None else (entry.category,)


def _why_no_scores(config: Config, current: Profile) -> str:
    """Say why there is nothing to score: no column of labels, or too few labels in it."""
    target, without = config.model.target, current.rows_without_target
    if current.rows and without == current.rows:
        return f"not run: the rows have no column {target}"
    some = f"; {without:,} of {current.rows:,} rows have no column {target}" if without else ""
    void = f"; {current.unpredicted:,} of {current.rows:,} rows have no prediction" if current.unpredicted else ""
    return f"not run: {current.labelled} of {config.minimum_labels} labels{some}{void}"


def _run_data_tests(
    config: Config, reference: Profile, current: Profile, means: Frames | NewEngine
) -> tuple[TestSuite, list[_Outcome]]:
    model = config.model
    columns = [*model.features, model.prediction]
    judged = [c for c in columns_of(current.grid) if c.judged(reference) and c.judged(current)]
    features = [column.name for column in judged if column.name != model.prediction]
    tests: dict[str, Any] = {}
    for entry in sorted(config.tests, key=lambda entry: entry.column is not None):  # which override those of all
        if entry.name == COLUMN_TEST:
            tests |= {f"{COLUMN_TEST}:{column}": _column_test(config, column) for column in columns}
        elif entry.name in OF_COLUMN:
            tests |= _tests_of_columns(entry, model)
        elif entry.name not in model.rules.label_tests:
            pinned = _pin_drift(config, features) if entry.name in TABLE_TESTS else {}
            tests[entry.name] = getattr(evidently_tests, entry.name)(**entry.condition, **pinned)
    mapping = ColumnMapping(
        target=None,
        prediction=None,
        datetime=None,
        numerical_features=[column.name for column in judged if column.kind == "numeric"],
        categorical_features=[column.name for column in judged if column.kind == "categorical"],
    )
    if isinstance(means, Frames):
        return _run(tests, mapping, means.reference[columns], means.current[columns])
    return _run(tests, mapping, reference, current, means)


def _run_label_tests(
    config: Config, reference: Profile, current: Profile, means: Frames | NewEngine
) -> tuple[TestSuite, list[_Outcome]]:
    model = config.model
    tests: dict[str, Any] = {}
    for entry in sorted(config.tests, key=lambda entry: entry.category is not None):
        if entry.name in OF_CATEGORY:
            tests |= _tests_of_categories(entry, model, _present(current))
        elif entry.name in model.rules.label_tests and entry.name not in OF_PROBABILITIES:
            tests[entry.name] = getattr(evidently_tests, entry.name)(**entry.condition)
    mapping = ColumnMapping(
        target=model.target,
        prediction=model.prediction,
        datetime=None,
        numerical_features=[],
        task=model.task,
        pos_label=_positive(model, current) if model.categories else None,
    )
    if not isinstance(means, Frames):
        return _run(tests, mapping, reference, current, means)
    ours = means.reference_answers
    return _run(tests, mapping, ours if len(ours) else None, means.current_answers)


def _run_score_tests(
    config: Config, reference: Profile, current: Profile, means: Frames | NewEngine
) -> tuple[TestSuite, list[_Outcome]]:
    tests, mapping = score_tests(config, reference, current), score_mapping(config.model)
    if not tests:
        return TestSuite(tests=[]), []
    if not isinstance(means, Frames):
        return _run(tests, mapping, reference, current, means)
    ours = means.reference_scores
    with warnings.catch_warnings():
        # rounded probabilities sum to 1 but for the rounding, and a category that nobody was answered with is no fault
        warnings.simplefilter("ignore")
        return _run(tests, mapping, ours if len(ours) else None, means.current_scores)


def _positive(model: Model, current: Profile) -> str:
    """Return the category whose F1 it is where two occur: the config's `positive`, or else the later one in its list.

    Evidently's F1 is the macro mean, but where two categories occur it is that of one, which has to be named. A label
    that the config does not name is not it: the reference holds none, and could not be scored.
    """
    present = _present(current)
    if model.positive in present:
        return str(model.positive)
    pair = sorted(present, key=[*sorted(present - {*model.categories}), *model.categories].index)
    return pair[1] if len(pair) == 2 else model.categories[1]  # noqa: PLR2004 - two categories


def _tests_of_columns(entry: SuiteEntry, model: Model) -> dict[str, Any]:
    """Return a test of the entry's column, or of each feature of the kinds that it is for."""
    names = [f for f in model.features if model.kind(f).name in OF_COLUMN[entry.name]]
    test = getattr(evidently_tests, entry.name)
    chosen = names if entry.column is None else [entry.column]
    return {entry.key_of(name): test(column_name=name, **entry.condition, **entry.parameters) for name in chosen}


def _tests_of_categories(entry: SuiteEntry, model: Model, present: Collection[str]) -> dict[str, Any]:
    """Return a test of the entry's category, or of each, as far as they are present."""
    test = getattr(evidently_tests, entry.name)
    chosen = [name for name in _categories(entry, model) if name in present]
    return {f"{entry.name}:{name}": test(label=name, **entry.condition) for name in chosen}


def _column_test(config: Config, column: str) -> Any:
    drift = config.drift_test(column)
    return evidently_tests.TestColumnDrift(column, stattest=drift.test, stattest_threshold=drift.threshold)


def _pin_drift(config: Config, columns: list[str]) -> dict[str, Any]:
    return {
        "columns": columns,
        "per_column_stattest": {c: config.drift_test(c).test for c in columns},
        "per_column_stattest_threshold": {c: config.drift_test(c).threshold for c in columns},
    }


def _run(
    tests: Mapping[str, Any],
    mapping: ColumnMapping,
    reference: pd.DataFrame | Profile | None,
    current: pd.DataFrame | Profile,
    engine: NewEngine | None = None,
) -> tuple[TestSuite, list[_Outcome]]:
    suite = TestSuite(tests=list(tests.values()))
    suite.run(reference_data=reference, current_data=current, column_mapping=mapping, engine=engine)
    results = suite._inner_suite.context.test_results.items()  # noqa: SLF001 - as_dict() rounds, and has no stable names
    return suite, [_Outcome(name, test, result) for name, (test, result) in zip(tests, results, strict=True)]


def _column_drift(config: Config, outcome: _Outcome) -> ColumnDrift:
    column = outcome.name.removeprefix(f"{COLUMN_TEST}:")
    pinned = config.drift_test(column)
    score, drifted = None, False
    if outcome.status != "error":
        measured = outcome.test.metric.get_result()
        if math.isfinite(measured.drift_score):
            score, drifted = float(measured.drift_score), bool(measured.drift_detected)
    p_value, distance = (None, score) if pinned.is_distance else (score, None)
    return ColumnDrift(column, pinned.test, pinned.threshold, p_value, drifted, distance)


def _describe(outcome: _Outcome, drift: ColumnDrift | None) -> str:
    if drift is None:
        found = str(outcome.result.description).replace("**", "").replace("The test threshold is", "Wanted:")
        return re.sub(r"\b(\w+)=(?=-?\d)", lambda match: CONDITIONS.get(match[1], match[0]), found)
    if drift.p_value is None and drift.distance is None:
        return f"{drift.column} holds no value that {drift.method} can judge."
    found = "differs from the reference" if drift.drifted else "agrees with the reference"
    score = f"distance {drift.distance:.3g}" if drift.p_value is None else f"p = {drift.p_value:.3g}"
    return f"{drift.column} {found}: {score} by {drift.method}, threshold {drift.threshold:g}."


def _beside(outcome: _Outcome, current: Profile, frames: Frames | None) -> str:
    """Say what Evidently's words do not: which rows are scored, which columns counted, how well a quantile is known."""
    scored, labelled = current.scores.rows, current.labelled
    if outcome.name in OF_PROBABILITIES and outcome.status != "error" and scored < labelled:
        return (
            f" On {scored:,} of {labelled:,} labelled rows: the others' labels are none of the config's categories, or "
            "their probabilities are not known."
        )
    if outcome.name in _COUNTED and outcome.status != "error":
        names = [column.name for column in columns_of(current.grid) if _COUNTED[outcome.name](column, current)]
        return f" {', '.join(names[:_NAMED])}{' and others' if len(names) > _NAMED else ''}." if names else ""
    return _between(outcome, current, frames)


def _between(outcome: _Outcome, current: Profile, frames: Frames | None) -> str:
    """Say between which numbers a quantile lies that a profile does not know exactly."""
    if frames or outcome.status == "error" or not outcome.name.startswith(QUANTILE_TESTS):
        return ""
    column = column_of(current.grid, outcome.test.column_name.name)
    assert isinstance(column, NumericColumn)
    found = quantile(current, column.index, getattr(outcome.test, "quantile", 1 / 2))
    return "" if found.exact else f" It lies between {found.low:.6g} and {found.high:.6g}, on one side of the bound."


def _found(outcome: _Outcome, drift: ColumnDrift | None, reference: Profile, current: Profile) -> str:
    """Say what a test found, and of a category which levels are new or gone."""
    said = _describe(outcome, drift)
    if outcome.name == PERCENTAGE_TEST and (below := current.errors.negative):
        return f"{said} {below:,} labels are below zero, where Evidently divides by 2e-16: take TestValueMAE instead."
    shape = shape_of(column_of(current.grid, drift.column)) if drift else None
    words = shape.words(reference, current) if shape else ""
    return f"{said} {words}" if words else said
