"""ROC AUC and log loss from counts: equal to scikit-learn's on rounded probabilities, and to Evidently's verdicts."""

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from flows.training.pipeline import predict_out_of_fold, train, with_predictions
from flows.training.sample import sample_of
from monitoring.contract.config import Config
from monitoring.contract.layout import Layout
from monitoring.contract.reference import InvalidReferenceError, read_reference
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.profile.label_scores import STEPS, cells_of, rounded
from monitoring.profile.profile import Profile
from monitoring.profile.serialised import from_bytes, to_bytes
from monitoring.suite.frames import Frames
from monitoring.suite.suite import SuiteRun, run_suite
from tests.unit.models import loans

TESTS: list[Any] = ["TestRocAuc", {"TestLogLoss": {"lt": 0.5}}]


def scored(categories: list[str], *, probabilities: bool, **changes: Any) -> Config:
    """Return a config of two features whose probabilities are tested."""
    model = loans().model.model_dump() | {"features": ["age", "income"], "kinds": {}, "positive": None}
    model |= {"categories": categories, "probabilities": probabilities, "threshold": None} | changes
    return loans(model=model, minimum_rows=2, minimum_labels=5, tests=["TestColumnsType", *TESTS])


def draw(config: Config, rows: int, seed: int, *, named: bool, sharp: float = 1.0) -> pa.Table:
    """Draw rows that are answered by probabilities, with a label that is right about as often as they say."""
    model, random = config.model, np.random.default_rng(seed)
    given = random.dirichlet(np.full(len(model.categories), 0.5), rows)
    names = np.array(model.categories, object)
    answers = given.argmax(axis=1)
    labels = np.array([random.choice(names, p=p) for p in given**sharp / (given**sharp).sum(axis=1, keepdims=True)])
    columns: dict[str, Any] = {"age": random.normal(size=rows), "income": random.normal(size=rows)}
    columns |= {model.prediction: names[answers], model.target: labels.astype(object)}
    columns["confidence"] = given[np.arange(rows), answers]
    if named:
        columns |= {name: given[:, place] for place, name in enumerate(model.probability_columns)}
    frame = pd.DataFrame(columns)
    frame.loc[random.random(rows) < 0.1, model.target] = None
    frame.loc[random.random(rows) < 0.1, ["confidence", *(model.probability_columns if named else ())]] = None
    return pa.Table.from_pandas(frame, preserve_index=False)


def both(config: Config, reference: pa.Table, current: pa.Table) -> tuple[SuiteRun, SuiteRun, Profile]:
    """Run the suite on profiles, and by Evidently's own engine."""
    grid = grid_of(config.model, reference)
    profiles = [profile_rows(grid, table) for table in (reference, current)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frames = Frames.of(reference, current, config.model)
        return run_suite(config, *profiles), run_suite(config, *profiles, frames), profiles[1]


@settings(max_examples=25, deadline=None)
@given(
    categories=st.sampled_from([["no", "yes"], ["a", "b", "c"], ["0", "1"]]),
    named=st.booleans(),
    sizes=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    seed=st.integers(0, 2**31),
    sharp=st.sampled_from([0.0, 1.0, 3.0]),
)
def test_profiles_and_evidently_agree(
    categories: list[str], *, named: bool, sizes: tuple[int, int], seed: int, sharp: float
) -> None:
    """Both engines give the same verdicts and scores, with too few labels and an absent category too."""
    config = scored(categories, probabilities=named or len(categories) > 2)
    tables = [draw(config, size, seed + n, named=named, sharp=sharp) for n, size in enumerate(sizes)]
    ours, theirs, _ = both(config, *tables)
    assert [(v.test, v.status) for v in ours.verdicts] == [(v.test, v.status) for v in theirs.verdicts]
    assert ours.scores.keys() == theirs.scores.keys()
    for name, value in ours.scores.items():
        assert math.isclose(value, theirs.scores[name], rel_tol=1e-9, abs_tol=1e-12), name


@pytest.mark.parametrize("categories", [["no", "yes"], ["a", "b", "c"]], ids=["two", "three"])
def test_scores_are_those_of_scikit_learn_within_the_grid(categories: list[str]) -> None:
    """On unrounded probabilities log loss is off by half a step at most, and ROC AUC by half the tied pairs."""
    config = scored(categories, probabilities=True)
    table = draw(config, 3000, 1, named=True)
    scores = profile_rows(grid_of(config.model, table), table).scores
    frame = table.to_pandas().dropna()
    given = frame[list(config.model.probability_columns)].to_numpy()
    truth = (frame[config.model.target].to_numpy()[:, None] == categories).astype(int)
    assert scores.rows == len(frame) < 3000
    assert abs(scores.log_loss(config.model) - log_loss(truth, given)) <= 0.5 / STEPS
    assert scores.roc_auc(config.model) == pytest.approx(roc_auc_score(truth, given, average="macro"), abs=1e-3)


def test_a_threshold_does_not_turn_the_probabilities_round() -> None:
    """The confidence is that of the answer, which with a threshold may be the less probable category."""
    config = scored(["no", "yes"], probabilities=False, positive="yes", threshold=0.2)
    probability = np.array([0.1, 0.25, 0.3, 0.6, 0.15, 0.9] * 20)
    answered = probability >= 0.2
    model = config.model
    table = pa.table(
        {
            "age": np.arange(120.0), "income": np.arange(120.0),
            model.prediction: np.where(answered, "yes", "no"),
            model.target: np.where(probability > 0.28, "yes", "no"),
            "confidence": np.where(answered, probability, 1 - probability),
        }
    )  # fmt: skip
    scores = profile_rows(grid_of(model, table), table).scores
    assert scores.roc_auc(model) == 1.0
    truth = np.where(probability > 0.28, probability, 1 - probability)
    assert scores.log_loss(model) == pytest.approx(float(-np.log(truth).mean()), abs=0.5 / STEPS)


def test_counts_add_up_subtract_and_are_read_back() -> None:
    """Parts give the whole, what is taken away leaves no rest, and bytes hold all."""
    config = scored(["a", "b", "c"], probabilities=True)
    table = draw(config, 500, 2, named=True)
    grid = grid_of(config.model, table)
    whole, head, tail = (profile_rows(grid, some) for some in (table, table.slice(0, 200), table.slice(200)))
    assert (head.scores + tail.scores) == whole.scores
    assert (whole.scores - tail.scores) == head.scores
    assert from_bytes(grid, to_bytes(whole)).scores == whole.scores


def test_the_grid_reaches_what_doubles_tell_apart() -> None:
    """0 and 1 are at the ends, complements mirror each other, and what is no probability is unknown."""
    given = np.array([0.0, 1e-300, 1e-9, 0.25, 0.5, 0.75, 1.0])
    cells = cells_of(given)
    assert cells[0] == cells[1] == -cells[-1]
    assert cells[3] == -cells[5]
    assert cells[4] == 0
    assert rounded(cells)[2:6] == pytest.approx(given[2:6], rel=0.5 / STEPS)
    assert len(set(cells_of(np.array([-0.1, 1.1, np.nan, np.inf])).tolist())) == 1


def test_tests_that_cannot_run_say_why() -> None:
    """One category alone, no confidence, and a reference that holds none are told, and are no failure."""
    config = scored(["no", "yes"], probabilities=False)
    reference, current = draw(config, 100, 3, named=False), draw(config, 100, 4, named=False)
    run, _, _ = both(config, reference.drop(["confidence"]), current)
    assert "the reference holds no probabilities" in _found(run, "TestRocAuc")
    assert _found(run, "TestLogLoss").startswith("The Logarithmic Loss")
    run, _, _ = both(config, reference, current.drop(["confidence"]))
    assert _found(run, "TestLogLoss") == "not run: 0 of 5 labelled rows hold a confidence"
    alone = current.filter(pa.array([label == "no" for label in current[config.model.target].to_pylist()]))
    run, _, _ = both(config, reference, alone)
    assert "no labelled row is yes" in _found(run, "TestRocAuc")


def _found(run: SuiteRun, test: str) -> str:
    return next(verdict.found for verdict in run.verdicts if verdict.test == test)


def test_what_a_config_must_say_of_probabilities() -> None:
    """More than two categories need their columns, which no other column may be called."""
    with pytest.raises(ValueError, match=r"takes the probabilities of all 3 categories; set model.probabilities: true"):
        scored(["a", "b", "c"], probabilities=False)
    with pytest.raises(ValueError, match="probability_yes"):
        scored(["no", "yes"], probabilities=True, features=["age", "probability_yes"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param({"probability_yes": None}, "column probability_yes is missing", id="a column is missing"),
        pytest.param({"probability_yes": [0.9, 0.4]}, "of 1 rows do not sum to 1: those of row 0 sum to 1.4", id="sum"),
        pytest.param({"probability_yes": [math.nan, 0.4]}, "1 rows have probabilities of some", id="NaN"),
        pytest.param({"probability_yes": [-0.1, 0.4]}, "between 0 and 1", id="negative"),
        pytest.param({"probability_yes": ["x", "y"]}, "probability_yes", id="text"),
    ],
)
def test_a_references_probabilities_are_checked(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    """What cannot be probabilities is refused by its name."""
    config = scored(["no", "yes"], probabilities=True)
    columns = {"age": [1.0, 2.0], "income": [1.0, 2.0], config.model.prediction: ["no", "yes"]}
    columns |= {config.model.target: ["no", "yes"], "probability_no": [0.5, 0.6], "probability_yes": [0.5, 0.4]}
    layout = Layout(tmp_path)
    pq.write_table(pa.table(columns), layout.reference)
    assert "probability_yes" in read_reference(layout, config.model).table.column_names
    columns = {name: values for name, values in (columns | change).items() if values is not None}
    pq.write_table(pa.table(columns), layout.reference)
    with pytest.raises(InvalidReferenceError, match=problem):
        read_reference(layout, config.model)


def test_a_rebased_reference_holds_the_answering_models_probabilities() -> None:
    """Labelled rows theirs out of fold, the others the pipeline's; a category that was never learned has none."""
    config = scored(["no", "perhaps", "yes"], probabilities=True)
    model, random = config.model, np.random.default_rng(5)
    table = pa.table({"age": random.normal(size=80), "income": random.normal(size=80)})
    labels = [None if n % 8 == 0 else "yes" if table["age"][n].as_py() > 0 else "no" for n in range(80)]
    table = table.append_column(model.target, pa.array(labels, pa.string()))
    sample = sample_of(table, model)
    answers = predict_out_of_fold(sample)
    filled = with_predictions(table, model, train(sample), answers)
    given = np.column_stack([filled[name].to_numpy() for name in model.probability_columns])
    assert given.sum(axis=1) == pytest.approx(np.ones(80))
    assert (given[:, 1] == 0).all()
    known = np.array([label is not None for label in labels])
    np.testing.assert_allclose(given[known][:, [0, 2]], answers.probabilities)
    assert filled[model.prediction].to_pylist() == [model.categories[n] for n in given.argmax(axis=1)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sure_and_wrong_answers_cost_what_scikit_learn_says(dtype: str) -> None:
    """Of the type that they are logged as: 1 - 1e-9 is 1 in float32."""
    config = scored(["0", "1"], probabilities=False, dtype=dtype)
    random = np.random.default_rng(2)
    wrong = random.random(3_000) < 0.02
    sure = np.full(3_000, 1 - 1e-9, dtype)
    answers = np.where(random.random(3_000) < 0.5, "1", "0")
    labels = np.where(wrong, np.where(answers == "1", "0", "1"), answers)
    rows = pa.table({"age": random.normal(size=3_000), "income": random.normal(size=3_000)})
    rows = rows.append_column("confidence", pa.array(sure)).append_column(config.model.prediction, pa.array(answers))
    rows = rows.append_column(config.model.target, pa.array(labels))
    profile = profile_rows(grid_of(config.model, rows), rows)
    expected = log_loss(labels == "1", np.where(answers == "1", sure, 1 - sure).astype(dtype))
    assert profile.scores.log_loss(config.model) == pytest.approx(expected, abs=0.001)


def test_a_number_beyond_one_by_its_rounding_is_one() -> None:
    assert cells_of(np.array([1 + 1e-7, -1e-7])).tolist() == cells_of(np.array([1.0, 0.0])).tolist()
    assert cells_of(np.array([1.01, -0.01, np.nan])).tolist() == [np.iinfo(np.int32).min] * 3


def test_the_verdict_says_which_labelled_rows_were_not_scored() -> None:
    """Labels that are no category, and rows without probabilities."""
    config = scored(["0", "1"], probabilities=False)
    rows = draw(config, 400, 1, named=False)
    frame = rows.to_pandas()
    frame.loc[:99, config.model.target] = "misspelt"
    profile, _ = (run.verdicts for run in both(config, rows, pa.Table.from_pandas(frame, preserve_index=False))[:2])
    said = {one.test: one.found for one in profile}
    scored_rows = int((frame["confidence"].notna() & frame[config.model.target].isin(["0", "1"])).sum())
    labelled = int(frame[config.model.target].notna().sum())
    for test in ("TestRocAuc", "TestLogLoss"):
        assert f" On {scored_rows} of {labelled} labelled rows: " in said[test]
