"""The suite on real Evidently: pinned, at full precision, and unmoved by bad columns."""

import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

from monitoring.contract.config import Config
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.profile.two_sample_tests import two_sample_chi_square
from monitoring.suite.frames import Frames, to_arrow
from monitoring.suite.suite import SuiteRun, run_suite
from tests.unit.models import GENRES, LOANS, loans
from tests.unit.monitor_fixtures import make_rows


def _run(config: Config, reference: pd.DataFrame, current: pd.DataFrame) -> SuiteRun:
    tables = [to_arrow(rows, config.model) for rows in (reference, current)]
    grid = grid_of(config.model, tables[0])
    frames = Frames.of(*tables, config.model)
    profiles = [profile_rows(grid, table) for table in tables]
    return run_suite(config, *profiles, frames if config.engine == "dataframe" else None)


def _status(run: SuiteRun) -> dict[str, str]:
    return {v.test: v.status for v in run.verdicts}


def test_verdicts_have_our_names_in_the_configs_order() -> None:
    """A test is known by its entry in config.yml, a column's drift test by the column too."""
    run = _run(LOANS, make_rows(LOANS, 100), make_rows(LOANS, 100, seed=1))
    columns = [*LOANS.model.features, LOANS.model.prediction]
    before, _, after = ([e.name for e in LOANS.tests[a:b]] for a, b in ((0, 6), (6, 7), (7, 9)))
    assert [v.test for v in run.verdicts] == [*before, *(f"TestColumnDrift:{c}" for c in columns), *after]


@pytest.mark.parametrize("engine", ["profile", "dataframe"])
@pytest.mark.parametrize(
    ("test", "p_value"),
    [
        pytest.param("ks", lambda a, b: stats.ks_2samp(a, b).pvalue, id="ks"),
        pytest.param("mannw", lambda a, b: stats.mannwhitneyu(a, b).pvalue, id="mannw"),
        pytest.param("t_test", lambda a, b: stats.ttest_ind(a, b).pvalue, id="t_test"),
        pytest.param("cramer_von_mises", lambda a, b: stats.cramervonmises_2samp(a, b).pvalue, id="cramer_von_mises"),
        pytest.param("anderson", lambda a, b: stats.anderson_ksamp([a, b])[2], id="anderson"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # scipy tells that it caps the p-value of anderson
def test_p_values_are_scipys(engine: str, test: str, p_value: Callable[..., float]) -> None:
    """Nothing rounds a p-value on its way; what profiles cannot give is refused by name when the config is read."""
    drift = {"default": {"test": test, "threshold": 0.05}}
    if engine == "profile" and test not in ("ks", "t_test"):
        with pytest.raises(ValueError, match=f"{test}.*cannot be computed from profiles.*engine: dataframe"):
            loans(engine=engine, drift=drift)
        return
    config = loans(engine=engine, drift=drift)
    reference, current = make_rows(config, 300), make_rows(config, 200, seed=1, shift=0.2)
    run = _run(config, reference, current)
    for name in config.model.features:
        expected = p_value(reference[name].astype("float64"), current[name].astype("float64"))
        rounding = 1e-12 if (engine, test) == ("profile", "t_test") else 0
        assert run.drift[name].p_value == pytest.approx(expected, rel=rounding, abs=0)


@pytest.mark.parametrize("shift", [pytest.param(0.5, id="up"), pytest.param(-0.5, id="down")])
def test_the_rank_test_sees_drift_in_both_directions(shift: float) -> None:
    """Evidently's own Mann-Whitney test looks one way; ours sees values that rise and values that fall."""
    config = loans(engine="dataframe", drift={"default": {"test": "mannw", "threshold": 0.05}})
    assert _run(config, make_rows(config, 200), make_rows(config, 200, seed=1, shift=shift)).drift["age"].drifted


def test_the_drift_test_stays_when_the_reference_grows() -> None:
    """Above 1,000 reference rows, where Evidently would switch to distances, p-values stay p-values."""
    reference, current = make_rows(LOANS, 1_500), make_rows(LOANS, 300, seed=1)
    run = _run(LOANS, reference, current)
    for name in LOANS.model.features:
        assert run.drift[name].p_value == stats.ks_2samp(reference[name], current[name]).pvalue
    assert run.drift["prediction"].p_value == two_sample_chi_square(
        *map(Counter, (reference["prediction"], current["prediction"]))
    )


def test_a_columns_own_threshold_decides() -> None:
    """The threshold beside a column's name overrides the default one."""
    reference, current = make_rows(LOANS, 300), make_rows(LOANS, 300, seed=1, shift=0.25)
    p_value = _run(LOANS, reference, current).drift["age"].p_value
    assert p_value is not None
    assert 1e-6 < p_value < 0.05
    strict = loans(drift=LOANS.drift.model_dump() | {"columns": {"age": {"test": "ks", "threshold": 1e-6}}})
    status = _status(_run(strict, reference, current))
    assert status["TestColumnDrift:age"] == "success"
    assert _status(_run(LOANS, reference, current))["TestColumnDrift:age"] == "fail"


def test_chi_square_is_the_two_sample_one() -> None:
    """A category that only one side knows is counted as none on the other."""
    reference, current = {"a": 50, "b": 50}, {"a": 40, "c": 30}
    expected = stats.chi2_contingency([[50, 50, 0], [40, 0, 30]], correction=False).pvalue
    assert two_sample_chi_square(reference, current) == pytest.approx(expected, rel=1e-12)


def test_chi_square_of_one_category_finds_nothing() -> None:
    """The same single category on both sides is no evidence of anything."""
    assert two_sample_chi_square({"a": 50}, {"a": 70}) == 1.0


def test_chi_square_raises_no_alarm_on_large_windows_without_drift() -> None:
    """The reference's shares are a sample too: large windows of the same mix differ rarely."""
    random = np.random.default_rng(0)
    reference = Counter(random.choice(GENRES.model.categories, 800).tolist())
    draws = (Counter(random.choice(GENRES.model.categories, 20_000).tolist()) for _ in range(40))
    assert sum(two_sample_chi_square(reference, draw) < 0.05 for draw in draws) <= 6


def test_fewer_duplicates_than_the_reference_pass() -> None:
    """The condition is the config's, not Evidently's two-sided comparison with the reference."""
    reference = make_rows(LOANS, 200)
    reference = pd.concat([reference, reference.head(20)])
    assert _status(_run(LOANS, reference, make_rows(LOANS, 100, seed=1)))["TestNumberOfDuplicatedRows"] == "success"


@pytest.mark.parametrize(
    ("repeated", "status"), [pytest.param(5, "success", id="at the limit"), pytest.param(6, "fail", id="beyond")]
)
def test_a_condition_holds_to_its_limit(repeated: int, status: str) -> None:
    """`lte: 5` takes five and refuses six."""
    current = make_rows(LOANS, 100, seed=1)
    current = pd.concat([current, current.head(repeated)])
    assert _status(_run(LOANS, make_rows(LOANS, 100), current))["TestNumberOfDuplicatedRows"] == status


@pytest.mark.parametrize("config", [pytest.param(GENRES, id="ten categories"), pytest.param(LOANS, id="two")])
def test_scores_are_those_of_the_labelled_rows(config: Config) -> None:
    """Accuracy and F1 take the rows with a label alone: macro F1, or the second category's where there are two."""
    model = config.model
    current = make_rows(config, 400, seed=1)
    current.loc[::2, model.target] = None
    run = _run(config, make_rows(config, 300), current)
    labelled = current.dropna()
    average = {"pos_label": "yes"} if config is LOANS else {"average": "macro"}
    assert run.accuracy == accuracy_score(labelled[model.target], labelled[model.prediction])
    assert run.f1 == f1_score(labelled[model.target], labelled[model.prediction], **average)
    assert _status(run)["TestF1Score"] == "success"


def test_two_categories_of_many_are_scored() -> None:
    """A window that holds two of ten categories is scored, where Evidently by itself would fail."""
    current = make_rows(LOANS, 300, seed=1)
    current = current[["prediction", "target"]].replace({"no": "jazz", "yes": "blues"})
    rows = make_rows(GENRES, 300, seed=2)
    rows[["predicted_genre", "actual_genre"]] = current.to_numpy()
    run = _run(GENRES, make_rows(GENRES, 300), rows)
    assert run.f1 == f1_score(rows["actual_genre"], rows["predicted_genre"], pos_label="jazz")


def test_a_reference_without_labels_is_no_hindrance() -> None:
    """The score's condition is the config's: the reference need not be labelled."""
    reference = make_rows(LOANS, 100).assign(target=None)
    assert _run(LOANS, reference, make_rows(LOANS, 100, seed=1)).accuracy is not None


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda rows: rows.assign(target=None), "0 of 20 labels", id="none"),
        pytest.param(lambda rows: rows.assign(target=rows["target"][:19]), "19 of 20 labels", id="few"),
        pytest.param(lambda rows: rows.drop(columns="target"), "the rows have no column target", id="no column"),
    ],
)
def test_tests_without_labels_are_skipped_and_say_why(make: Callable[..., pd.DataFrame], reason: str) -> None:
    """Below minimum_labels there is no score, and a verdict that is neither; the report names it too."""
    current = make(make_rows(LOANS, 100, seed=1))
    run = _run(LOANS, make_rows(LOANS, 100), current)
    assert (run.accuracy, run.f1) == (None, None)
    skipped = {v.test: v.found for v in run.verdicts if v.skipped}
    assert skipped == dict.fromkeys(("TestAccuracyScore", "TestF1Score"), f"not run: {reason}")
    assert not any(v.passed or v.failed for v in run.verdicts if v.skipped)
    body = run.html().partition("<body")[2]
    assert f"TestAccuracyScore</b>: not run: {reason}" in body


@pytest.mark.parametrize(
    ("values", "failing"),
    [
        pytest.param(None, "TestNumberOfColumnsWithMissingValues", id="all null"),
        pytest.param("high", "TestColumnsType", id="text"),
        pytest.param(float("inf"), "TestNumberOfColumnsWithMissingValues", id="infinite"),
    ],
)
def test_a_column_that_cannot_be_judged_spoils_no_other(values: object, failing: str) -> None:
    """It has no p-value and fails a test that names its trouble; the other columns are judged, the report renders."""
    reference, current = make_rows(LOANS, 100), make_rows(LOANS, 100, seed=1, shift=3)
    current["debt"] = values
    run = _run(LOANS, reference, current)
    status = _status(run)
    assert run.drift["debt"].p_value is None
    assert status["TestColumnDrift:debt"] == "error"
    assert status[failing] == "fail"
    assert run.drift["age"].p_value == stats.ks_2samp(reference["age"], current["age"]).pvalue
    assert status["TestNumberOfDriftedColumns"] in ("success", "fail")
    assert "Drift per Column" in run.html()


def test_every_column_null_still_gives_verdicts() -> None:
    """A client that sends nothing but nulls is shown, not stumbled over."""
    current = make_rows(LOANS, 100, seed=1)
    current[[*LOANS.model.features, "prediction"]] = None
    status = _status(_run(LOANS, make_rows(LOANS, 100), current))
    assert status["TestNumberOfColumnsWithMissingValues"] == "fail"
    assert status["TestColumnDrift:prediction"] == "error"


def test_a_constant_column_is_drift_and_named_constant() -> None:
    """A broken client that sends zeros drifts, and fails the test of constant columns."""
    current = make_rows(LOANS, 100, seed=1).assign(income=0.0)
    run = _run(LOANS, make_rows(LOANS, 100), current)
    assert run.drift["income"].drifted
    assert _status(run)["TestNumberOfConstantColumns"] == "fail"


def test_a_new_category_is_drift() -> None:
    """A prediction that the reference never held is judged like any other."""
    current = make_rows(LOANS, 100, seed=1)
    current.loc[:40, "prediction"] = "perhaps"
    drift = _run(LOANS, make_rows(LOANS, 100), current).drift["prediction"]
    assert drift.drifted


def test_the_words_say_what_was_found() -> None:
    """A drift verdict gives the p-value as it is, where Evidently's words would round it to nothing."""
    run = _run(LOANS, make_rows(LOANS, 200), make_rows(LOANS, 200, seed=1, shift=2))
    found = {v.test: v.found for v in run.verdicts}
    assert f"{run.drift['age'].p_value:.3g}" in found["TestColumnDrift:age"]
    assert found["TestNumberOfDuplicatedRows"].endswith("Wanted: at most 5.")


def test_the_html_report_loads_nothing() -> None:
    """The report is one file: it works where no network is."""
    html = _run(LOANS, make_rows(LOANS, 60), make_rows(LOANS, 60, seed=1)).html()
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"']?(?:https?:)?//", html)
