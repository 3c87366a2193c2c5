"""The model on its way from rows to ONNX, and what the gate makes of two of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest

from flows.training.errors import ModelError
from flows.training.evaluation import compare
from flows.training.export import export_onnx
from flows.training.held_out import split_rows
from flows.training.paired_tests import mcnemar
from flows.training.pipeline import choose_older, predict_out_of_fold, train, with_predictions
from flows.training.reliability import fit_reliability_curve
from flows.training.sample import Sample, feature_matrix, sample_of
from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.onnx.model import OnnxModel, load_onnx
from tests.unit.flows_fixtures import draw_wine
from tests.unit.models import wine

GENRES = load_config(Path("monitoring/config.yml"))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return wine(tmp_path)


def blobs(config: Config, rows: int, categories: tuple[str, ...], seed: int = 0) -> Sample:
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array(categories, dtype=object), size=rows)
    centres = {name: rng.normal(scale=2, size=len(config.model.features)) for name in sorted(categories)}
    features = np.array([centres[name] for name in labels]) + rng.normal(size=(rows, len(config.model.features)))
    return Sample(features.astype(np.float32), labels)


@pytest.mark.parametrize(
    ("config", "known"),
    [
        pytest.param(GENRES, GENRES.model.categories, id="ten categories"),
        pytest.param(GENRES, GENRES.model.categories[:7], id="three categories absent from training"),
        pytest.param(None, ("red", "white"), id="binary, four features"),
    ],
)
def test_onnx_agrees_with_scikit_learn_and_names_its_classes(
    config: Config | None, known: tuple[str, ...], tmp_path: Path
) -> None:
    """The exported model gives the trained one's labels and probabilities, with values missing too."""
    config = config or wine(tmp_path)
    sample = blobs(config, 400, known)
    features = sample.features.copy()
    features[::3, 1] = np.nan
    features[7] = np.nan
    pipeline = train(Sample(features, sample.labels))
    predictor = load_onnx(export_onnx(pipeline, config.model).SerializeToString(), config.model)
    labels, probabilities = predictor.predict(features)
    assert predictor.features == config.model.features
    assert predictor.classes == tuple(sorted(known))
    assert probabilities.shape == (400, len(known))
    np.testing.assert_allclose(probabilities, pipeline.predict_proba(features), atol=1e-5)
    assert labels.tolist() == pipeline.predict(features).tolist()


def test_feature_without_any_value_can_be_trained_on(config: Config) -> None:
    """A column that is missing throughout does not stop a training."""
    sample = blobs(config, 100, ("red", "white"))
    sample.features[:, 2] = np.nan
    predictor = predictor_of(config, sample)
    assert np.isfinite(predictor.predict(sample.features)[1]).all()


def test_null_and_infinity_become_missing(config: Config) -> None:
    """A log row's null, and an infinity in a user's reference, are both imputed."""
    table = draw_wine(3).set_column(0, "acidity", pa.array([None, float("inf"), 1.5], pa.float32()))
    assert np.isnan(feature_matrix(table, config.model)[:, 0]).tolist() == [True, True, False]


def test_single_category_cannot_be_trained_on(config: Config) -> None:
    """One category is refused in plain words."""
    with pytest.raises(ModelError, match="at least two categories"):
        train(Sample(np.zeros((20, 4), np.float32), np.array(["red"] * 20, dtype=object)))


def test_out_of_fold_predictions_are_honest() -> None:
    """On labels that mean nothing they are right by chance alone, where predictions of seen rows are not."""
    rng = np.random.default_rng(0)
    categories = np.array(GENRES.model.categories, dtype=object)
    sample = Sample(rng.normal(size=(500, 30)).astype(np.float32), rng.choice(categories, 500))
    seen = np.mean(train(sample).predict(sample.features) == sample.labels)
    unseen = np.mean(predict_out_of_fold(sample).predicted == sample.labels)
    assert seen > 0.5
    assert unseen < 0.2


def test_out_of_fold_confidences_are_honest_too() -> None:
    """The calibration says how often unseen rows are right, by labels that mean something and by ones that do not."""
    rng = np.random.default_rng(0)
    sample = blobs(GENRES, 500, GENRES.model.categories)
    meaningless = Sample(sample.features, rng.permutation(sample.labels))
    for rows, accuracy in (
        (sample, np.mean(predict_out_of_fold(sample).predicted == sample.labels)),
        (meaningless, 0.1),
    ):
        answers = predict_out_of_fold(rows)
        predicted, confidence = answers.predicted, answers.confidence
        assert ((confidence >= 1 / len(GENRES.model.categories)) & (confidence <= 1)).all()
        calibration = fit_reliability_curve(confidence, predicted == rows.labels)
        assert np.average(calibration.accuracy, weights=calibration.rows) == pytest.approx(accuracy, abs=0.05)


def test_out_of_fold_predictions_use_the_older_rows(config: Config) -> None:
    """Older rows teach each fold's pipeline: too few new rows are predicted well with them."""
    older = sample_of(draw_wine(400, seed=1), config.model)
    newer = sample_of(draw_wine(30, seed=2), config.model)
    scrambled = Sample(newer.features, np.random.default_rng(3).permutation(newer.labels))
    right = np.mean(predict_out_of_fold(scrambled, older).predicted == newer.labels)
    assert right > 0.9


def test_older_rows_are_used_where_they_help_and_not_where_they_contradict(config: Config) -> None:
    """The same kind of rows helps few new ones; rows whose labels mean the opposite do not."""
    newer = sample_of(draw_wine(60, seed=2), config.model)
    noisy = Sample(newer.features, newer.labels.copy())
    noisy.labels[::5] = np.where(noisy.labels[::5] == "red", "white", "red")
    older = sample_of(draw_wine(400, seed=1), config.model)
    opposite = Sample(older.features, np.where(older.labels == "red", "white", "red").astype(object))
    assert choose_older(noisy, older) is older
    assert choose_older(newer, opposite) is None


def test_rare_category_does_not_stop_out_of_fold_predictions() -> None:
    """A category with a single row is predicted too."""
    sample = blobs(GENRES, 60, GENRES.model.categories[:3])
    sample.labels[5] = GENRES.model.categories[9]
    predicted = predict_out_of_fold(sample).predicted
    assert set(predicted) <= set(GENRES.model.categories)


def test_rows_without_label_are_predicted_by_the_pipeline(config: Config) -> None:
    """A reference's unlabelled rows get a prediction, the labelled ones theirs out of fold."""
    table = draw_wine(60)
    labels = [None if i % 4 == 0 else name for i, name in enumerate(table["truth"].to_pylist())]
    table = table.set_column(4, "truth", pa.array(labels, pa.string()))
    sample = sample_of(table, config.model)
    assert len(sample.labels) == 45
    marked = replace(predict_out_of_fold(sample), predicted=np.array(["red"] * 45, dtype=object))
    filled = with_predictions(table, config.model, train(sample), marked)
    guesses = filled["guess"].to_pylist()
    assert [g for g, name in zip(guesses, labels, strict=True) if name] == ["red"] * 45
    assert set(guesses) == {"red", "white"}


def test_held_out_rows_are_stratified_and_rare_categories_stay_in_training() -> None:
    """Each common category is held out by its share; one with too few rows is learnt from alone."""
    labels = np.array(["a"] * 200 + ["b"] * 100 + ["c"] * 3, dtype=object)
    sample = Sample(np.arange(303, dtype=np.float32)[:, None], labels)
    split = split_rows(sample, 0.3, seed=1)
    training, held = sample.take(split.training), sample.take(split.held)
    counted = {name: int(np.sum(held.labels == name)) for name in "abc"}
    assert counted == {"a": 60, "b": 30, "c": 0}
    assert sorted([*training.features[:, 0], *held.features[:, 0]]) == list(range(303))
    again = sample.take(split_rows(sample, 0.3, seed=1).held)
    assert again.features.tolist() == held.features.tolist()


def predictor_of(config: Config, sample: Sample) -> OnnxModel:
    return load_onnx(export_onnx(train(sample), config.model).SerializeToString(), config.model)


def test_better_candidate_passes_and_worse_one_does_not(config: Config) -> None:
    """The gate looks at accuracy on the same held-out rows."""
    good = sample_of(draw_wine(300, seed=1), config.model)
    flipped = Sample(good.features, np.where(good.labels == "red", "white", "red").astype(object))
    held = sample_of(draw_wine(200, seed=2), config.model)
    right, wrong = predictor_of(config, good), predictor_of(config, flipped)
    better = compare(wrong, right, held, 0.0)
    assert better.passed
    assert better.gain > 0.9
    assert better.mcnemar_p_value < 1e-6
    assert better.candidate.macro_f1 > 0.9
    assert better.candidate.log_loss < better.champion.log_loss
    assert not compare(right, wrong, held, 0.0).passed
    assert not compare(wrong, right, held, 0.999).passed


def test_tie_passes_at_no_minimum_gain_and_fails_above(config: Config) -> None:
    """Equal accuracy is enough if no gain is asked for, and is not otherwise."""
    sample = sample_of(draw_wine(200), config.model)
    predictor = predictor_of(config, sample)
    assert compare(predictor, predictor, sample, 0.0).passed
    assert compare(predictor, predictor, sample, 0.0).mcnemar_p_value == 1.0
    assert not compare(predictor, predictor, sample, 0.01).passed


def test_log_loss_stays_finite_for_a_category_that_a_model_does_not_know() -> None:
    """A champion without a category is scored on rows of it, as wrong."""
    sample = blobs(GENRES, 200, GENRES.model.categories[:4])
    fewer = predictor_of(GENRES, sample.take(sample.labels != GENRES.model.categories[0]))
    result = compare(fewer, predictor_of(GENRES, sample), sample, 0.0)
    assert np.isfinite(result.champion.log_loss)
    assert result.champion.recall[GENRES.model.categories[0]] == 0.0
    assert result.passed


@pytest.mark.parametrize(("first", "second"), [(3, 12), (10, 10), (0, 1), (7, 0)])
def test_mcnemar_is_the_exact_binomial_test(first: int, second: int) -> None:
    """The p-value is that of a sign test on the rows that just one model gets right."""
    a = np.array([True] * first + [False] * second + [True] * 20)
    b = np.array([False] * first + [True] * second + [True] * 20)
    assert mcnemar(a, b) == pytest.approx(binomtest(first, first + second).pvalue)


def test_of_rows_that_depend_on_each_other_older_ones_are_left_out_only_beyond_chance(config: Config) -> None:
    """A day whose hours each have a label of their own is learned by heart, which holds on no other day."""
    rng = np.random.default_rng(4)
    hours = np.repeat(np.arange(12), 20)
    table = draw_wine(len(hours), seed=2)
    newer = sample_of(table, config.model)
    odd = Sample(newer.features.copy(), newer.labels.copy())
    odd.features[:, 0] += rng.normal(size=12)[hours] * 5
    odd.labels[:] = np.where(rng.random(12) < 0.5, "red", "white")[hours]
    older = sample_of(draw_wine(400, seed=1), config.model)
    assert choose_older(odd, older) is None
    assert choose_older(odd, older, blocks=hours) is older
    opposite = Sample(older.features, np.where(older.labels == "red", "white", "red").astype(object))
    assert choose_older(newer, opposite, blocks=hours) is None


def test_out_of_fold_predictions_keep_blocks_together() -> None:
    """What neighbours in time share cannot be learned from them."""
    rng = np.random.default_rng(0)
    blocks = np.repeat(np.arange(40), 10)
    features = np.repeat(rng.normal(size=(40, 6)), 10, axis=0).astype(np.float32)
    labels = np.repeat(rng.choice(np.array(["red", "white"], dtype=object), 40), 10)
    sample = Sample(features, labels)
    at_random = np.mean(predict_out_of_fold(sample).predicted == labels)
    in_blocks = np.mean(predict_out_of_fold(sample, blocks=blocks).predicted == labels)
    assert at_random > 0.75
    assert in_blocks < 0.65
