"""Training on features of both kinds, for both tasks: recipes, export, what a candidate is judged by."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import t

from flows.registry.publication import complete, stage
from flows.retrain_gate import RetrainGate
from flows.run_report import comparison_report
from flows.training.answers import Answers
from flows.training.candidate import accepted, kept_performance, make_candidate, rebased
from flows.training.collection import Collected
from flows.training.errors import ModelError
from flows.training.evaluation import compare
from flows.training.export import difference, export_onnx, require_alike
from flows.training.held_out import split_rows
from flows.training.metrics import METRICS, metric_value
from flows.training.pipeline import choose_recipe, predict_out_of_fold, train
from flows.training.recipes import CLASSIFIERS, REGRESSORS, Recipe
from flows.training.regression import Regression
from flows.training.sample import Sample, sample_of
from monitoring.contract.config import Config, Gate
from monitoring.contract.layout import Layout
from monitoring.contract.onnx.model import OnnxModel, load_onnx
from monitoring.contract.reference import read_reference
from monitoring.contract.schemas import reference_schema
from monitoring.contract.values import conform
from tests.unit.mixed import tips, trip_rows, trips

CONFIGS = {"regression": trips(), "classification": tips()}


def rows_of(config: Config, rows: int, seed: int = 0, **options: Any) -> pa.Table:
    """Draw a reference's rows of a model."""
    return conform(pa.table(trip_rows(rows, seed, **options)), reference_schema(config.model))


def model_of(config: Config, rows: pa.Table, recipe: Recipe | None = None) -> OnnxModel:
    """Train and load a model."""
    exported = export_onnx(train(sample_of(rows, config.model), recipe), config.model)
    return load_onnx(exported.SerializeToString(), config.model)


@pytest.mark.parametrize(
    ("config", "recipe"),
    [
        *(pytest.param(trips(), recipe, id=recipe.name) for recipe in REGRESSORS),
        *(pytest.param(tips(), recipe, id=recipe.name) for recipe in CLASSIFIERS),
    ],
)
def test_each_recipe_answers_in_onnx_as_it_was_trained(config: Config, recipe: Recipe) -> None:
    """With levels that are missing, rare and never seen, and numbers that are missing."""
    rows = sample_of(rows_of(config, 400), config.model)
    pipeline = train(rows, recipe)
    odd = replace(rows, features=rows.features.copy())
    odd.features[::3, 0] = np.nan
    odd.features[::4, 2] = None
    odd.features[::5, 2] = "never seen"
    exported = export_onnx(pipeline, config.model)
    assert difference(exported, pipeline, odd) < 1e-4
    predicted, _ = load_onnx(exported.SerializeToString(), config.model).predict(odd.features)
    assert len(set(predicted.tolist())) > 1
    again = export_onnx(train(rows, recipe), config.model)
    assert list(again.graph.node) == list(exported.graph.node)  # the same rows teach the same
    assert list(again.graph.initializer) == list(exported.graph.initializer)


def test_an_export_that_answers_otherwise_is_refused() -> None:
    """The model of other rows is not the pipeline's."""
    config = trips()
    rows = sample_of(rows_of(config, 300), config.model)
    other = export_onnx(train(sample_of(rows_of(config, 300, 1, strength=9), config.model)), config.model)
    with pytest.raises(ModelError, match="the exported model's answers differ"):
        require_alike(other, train(rows), rows)


def test_a_feature_without_values_and_one_of_rare_levels_can_be_trained_on() -> None:
    """A column that is missing throughout, or an id, does not stop a training."""
    config = trips()
    rows = sample_of(rows_of(config, 200), config.model)
    rows.features[:, 0], rows.features[:, 3] = np.nan, None
    rows.features[:, 2] = [f"id {at}" for at in range(200)]
    for recipe in REGRESSORS:
        assert np.isfinite(train(rows, recipe).predict(rows.asked)).all()


def test_the_recipe_that_fits_is_chosen() -> None:
    """A label that jumps is learned by trees, one that is a sum by the linear recipe."""
    config, rng = trips(), np.random.default_rng(0)
    rows = sample_of(rows_of(config, 600), config.model)
    jumps = (rows.features[:, 0].astype(float) * 5 % 2 > 1) * 30.0
    assert choose_recipe(replace(rows, labels=jumps), "mae").name.startswith("boosted trees")
    total = 3 * rows.features[:, 0].astype(float) + 5.0 * (rows.features[:, 2] == "station")
    assert choose_recipe(replace(rows, labels=total + rng.normal(0, 1, 600)), "mae") is REGRESSORS[0]


def test_out_of_fold_means_of_levels_are_honest() -> None:
    """Levels that say nothing do not seem to: each row's own label is in none of its features."""
    config, rng = trips(), np.random.default_rng(0)
    rows = sample_of(rows_of(config, 500), config.model)
    rows.features[:, 2] = [f"zone {at}" for at in rng.integers(0, 250, 500)]
    noise = replace(rows, labels=rng.normal(size=500))
    usual = float(np.abs(noise.labels - np.median(noise.labels)).mean())
    for recipe in REGRESSORS:
        assert metric_value("mae", predict_out_of_fold(noise, recipe=recipe)) > 0.97 * usual


def test_constant_labels_are_refused() -> None:
    """There is nothing to learn from one number."""
    config = trips()
    rows = sample_of(rows_of(config, 100), config.model)
    with pytest.raises(ModelError, match="labels differ"):
        train(replace(rows, labels=np.full(100, 3.0)))


def test_numbers_are_held_out_in_equal_shares() -> None:
    """Each fifth of the labels has its share; the split is the same for the same seed."""
    rng = np.random.default_rng(0)
    sample = Sample(np.zeros((500, 1)), rng.lognormal(1, 1, 500))
    split = split_rows(sample, 0.3, 1)
    strata = Regression().strata(sample.labels)
    assert np.bincount(strata[split.held]).tolist() == [30] * 5
    assert split_rows(sample, 0.3, 1).held.tolist() == split.held.tolist()


def test_errors_are_those_of_the_formulas() -> None:
    """Weights count rows as often; a row without an answer is as far off as any label from their mean."""
    rng = np.random.default_rng(1)
    labels, predicted = rng.normal(size=50), rng.normal(size=50)
    given = Answers(labels, predicted, np.empty((50, 0)), ())
    assert metric_value("mae", given) == pytest.approx(np.abs(labels - predicted).mean())
    assert metric_value("rmse", given) == pytest.approx(np.sqrt(((labels - predicted) ** 2).mean()))
    weights = rng.integers(0, 3, (1, 50)).astype(float)
    expected = -np.average(np.abs(labels - predicted), weights=weights[0])
    assert METRICS["mae"](given, weights)[0] == pytest.approx(expected)
    silent = replace(given, predicted=np.where(np.arange(50) == 7, np.nan, predicted))
    assert abs(silent.errors[7]) == pytest.approx(np.abs(labels - labels.mean()).max())


@pytest.mark.parametrize("gate", [Gate(), Gate(test="bootstrap")])
@pytest.mark.parametrize("metric", ["mae", "rmse"])
@pytest.mark.parametrize("blocked", [False, True])
def test_a_regression_passes_by_the_share_of_the_error_that_it_takes_away(
    metric: Any, gate: Gate, *, blocked: bool
) -> None:
    """A gain is relative to the champion's error; a tie passes `point` alone, and is not better."""
    config = trips()
    good, bad = model_of(config, rows_of(config, 400)), model_of(config, rows_of(config, 400, 1, strength=8))
    held = sample_of(rows_of(config, 200, 2), config.model)
    options: dict[str, Any] = {"metric": metric, "gate": gate, "blocks": np.arange(200) // 5 if blocked else None}
    found = compare(bad, good, held, 0.3, **options)
    errors = [found.champion.values[metric], found.candidate.values[metric]]
    assert found.gain == pytest.approx(1 - errors[1] / errors[0])
    assert (found.passed, found.better, found.mcnemar_p_value) == (True, True, None)
    assert not compare(bad, good, held, 0.99, **options).passed
    assert not compare(good, bad, held, 0.0, **options).passed
    tie = compare(good, good, held, 0.0, **options)
    assert (tie.passed, tie.better) == (gate.test == "point", False)


def test_the_bound_of_an_error_is_students() -> None:
    """Of independent rows; rows that are alike within blocks count as fewer."""
    rng = np.random.default_rng(0)
    errors = rng.gamma(2, 1, 200)
    given = Answers(np.zeros(200), errors, np.empty((200, 0)), ())
    found = Regression().standing(given, 0.05)
    assert found.at_most == pytest.approx(errors.mean() + t.ppf(0.95, 199) * errors.std(ddof=1) / np.sqrt(200))
    alike = Answers(np.zeros(200), np.repeat(errors[:20], 10), np.empty((200, 0)), ())
    blocks = np.repeat(np.arange(20), 10)
    assert Regression().standing(alike, 0.05, blocks).at_most > Regression().standing(alike, 0.05).at_most + 0.2
    assert found.holds(promised=found.at_most / 1.1, margin=0.11)
    assert not found.holds(promised=found.at_most / 1.1, margin=0.09)


@pytest.mark.parametrize("task", CONFIGS)
def test_a_candidate_after_a_change_is_promoted_with_its_reference(tmp_path: Path, task: str) -> None:
    """The station's minutes have grown: the candidate is better, and the reference that follows can be read."""
    config = CONFIGS[task]
    model = config.model
    champion = model_of(config, rows_of(config, 400))
    rows = rows_of(config, 600, 3, strength=6)
    found = make_candidate(rows, rows_of(config, 400), champion, config, seed=1)
    assert found.comparison.gain > 0.05
    assert found.metrics()["export_difference"] < 1e-3
    assert found.parameters(600, 0.3)["recipe"] in {recipe.name for recipe in (*REGRESSORS, *CLASSIFIERS)}
    promised = found.comparison.champion.values[config.retrain.metric]
    gate = RetrainGate(found.comparison, found.standing, promised / 2, config.retrain.margin, changed=True)
    collected = Collected(rows, 600, 600, None, None, (), ())
    report = comparison_report(
        gate, collected, name="m", champion="1", candidate="2", made_by="a recipe", links=("", "")
    )
    assert ("mean absolute error" in report, "recall by category" in report) == (
        (True, False) if task == "regression" else (False, True)
    )
    table, performance = rebased(rows, found, model)
    layout = Layout(tmp_path)
    stage(layout, model, "2", table, origin="rebased", performance=performance)
    complete(layout, "2")
    kept = read_reference(layout, model)
    assert kept.performance == performance
    assert kept.table[model.prediction].type == model.rules.values
    assert kept.table["zone"].to_pylist() == rows["zone"].to_pylist()


def test_a_regression_that_is_as_good_as_ever_is_accepted() -> None:
    """Its new reference holds its answers, their error, and what it promised at its promotion."""
    config = trips()
    champion, rows = model_of(config, rows_of(config, 600)), rows_of(config, 600, 1)
    table, performance = accepted(rows, champion, config.model, 1.9)
    errors = np.abs(np.subtract(table["predicted_minutes"].to_pylist(), table["minutes"].to_pylist()))
    assert performance.mae == pytest.approx(errors.mean(), rel=0.01)
    assert (performance.accuracy, performance.promised) == (None, 1.9)
    assert kept_performance(table, config.model) == replace(performance, at_promotion=None)
    found = make_candidate(rows, rows, champion, config, seed=1)
    gate = RetrainGate(found.comparison, found.standing, performance.mae, config.retrain.margin, changed=True)
    assert gate.as_right
    assert gate.describe_standing().startswith("its mean absolute error is ")
    assert not replace(gate, promised=performance.mae / 2).as_right if performance.mae else False


@pytest.mark.parametrize("task", CONFIGS)
@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("1stFlrSF", "2", "3SsnPorch", "4"), id="digits"),
        pytest.param(("a b", "a_b", "a<b", "a>b"), id="alike"),
        pytest.param(("variable", "label", "probabilities", "feature_1"), id="the-exports-own"),
    ],
)
def test_a_feature_may_be_called_anything(task: str, names: tuple[str, ...]) -> None:
    """What the converter makes of names, or calls its own tensors, is nothing to the model."""
    config = CONFIGS[task]
    rows = rows_of(config, 200)
    model = config.model.model_copy(
        update={"features": names, "kinds": dict(zip(names, config.model.kinds.values(), strict=True))}
    )
    renamed = rows.rename_columns([*names, *rows.column_names[4:]])
    sample = sample_of(renamed, model)
    pipeline = train(sample)
    exported = export_onnx(pipeline, model)
    assert difference(exported, pipeline, sample) < 1e-4
    assert load_onnx(exported.SerializeToString(), model).features == names


def test_few_rows_of_a_category_among_many_are_tried_too() -> None:
    """A recipe is chosen where hardly any row of a category would be among those that are tried."""
    rows = rows_of(tips(), 20_000)
    rare = np.arange(len(rows)) % 1_999 == 7
    labels = pa.array(np.where(rare, "yes", "no"))
    sample = sample_of(rows.set_column(rows.schema.get_field_index("tip"), "tip", labels), tips().model)
    assert choose_recipe(sample, "log_loss") in CLASSIFIERS


def test_the_confidence_is_that_of_the_answer() -> None:
    """Where a threshold decides, it may be the smaller share; it is what the API logs."""
    probabilities = np.array([[0.7, 0.3], [0.9, 0.1], [np.nan, np.nan]])
    answers = Answers(np.array(["no"] * 3, object), np.array(["yes", "no", ""], object), probabilities, ("no", "yes"))
    assert answers.confidence.tolist() == [0.3, 0.9, 0.0]


def test_large_numbers_of_small_spread_are_exported() -> None:
    """An answer in float32 is a rounding off."""
    rows = rows_of(trips(), 400)
    minutes = pa.array(1e6 + np.random.default_rng(1).normal(0, 10, 400))
    sample = sample_of(rows.set_column(rows.schema.get_field_index("minutes"), "minutes", minutes), trips().model)
    pipeline = train(sample)
    require_alike(export_onnx(pipeline, trips().model), pipeline, sample)
