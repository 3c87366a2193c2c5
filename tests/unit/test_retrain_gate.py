"""What becomes of a candidate and of the champion: the metrics, the gate's tests, and who is as right as ever."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score, log_loss, roc_auc_score

from flows.retrain_gate import RetrainGate, Verdict
from flows.training.answers import Answers
from flows.training.candidate import accepted, make_candidate
from flows.training.classification import Accuracy, Classification, accuracy_standing
from flows.training.evaluation import Comparison, compare
from flows.training.export import export_onnx
from flows.training.held_out import BLOCKS, blocks_of, split_rows
from flows.training.metrics import METRICS
from flows.training.paired_tests import mcnemar_better
from flows.training.pipeline import train
from flows.training.sample import Sample, sample_of
from monitoring.contract.config import Config, Gate, RetrainMetric
from monitoring.contract.onnx.model import OnnxModel, load_onnx
from monitoring.contract.tasks import TASKS
from tests.unit.flows_fixtures import draw_wine
from tests.unit.models import wine

DAY = 86_400.0
CLASSES = ("a", "b", "c")
CLASSIFICATION, CATEGORICAL = Classification(), TASKS["classification"]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return wine(tmp_path)


def answers(rows: int = 300, seed: int = 0) -> Answers:
    """Three categories, and probabilities with ties that know something of them."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array(CLASSES, dtype=object), rows, p=[0.6, 0.3, 0.1])
    raw = rng.random((rows, 3)).round(1) + 0.8 * (labels[:, None] == np.array(CLASSES)) + 0.05
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    return Answers(labels, np.array(CLASSES, dtype=object)[probabilities.argmax(axis=1)], probabilities, CLASSES)


def test_metrics_are_scikit_learns() -> None:
    """On rows that count once each, ties and rare categories among them."""
    given = answers()
    found = CLASSIFICATION.score(given)
    labels, predicted, probabilities = given.labels.astype(str), given.predicted.astype(str), given.probabilities
    assert found.accuracy == pytest.approx(np.mean(labels == predicted))
    assert found.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert found.log_loss == pytest.approx(log_loss(labels, probabilities, labels=CLASSES))
    expected = np.mean([roc_auc_score(labels == name, probabilities[:, i]) for i, name in enumerate(CLASSES)])
    assert found.roc_auc == pytest.approx(expected)


@pytest.mark.parametrize("metric", CATEGORICAL.metrics)
def test_weights_count_rows_as_often_as_they_stand_there(metric: RetrainMetric) -> None:
    """A draw's value is that of the drawn rows."""
    given = answers()
    times = np.random.default_rng(1).integers(0, 4, 300)
    drawn = np.repeat(np.arange(300), times)
    rows = Answers(given.labels[drawn], given.predicted[drawn], given.probabilities[drawn], CLASSES)
    once = np.ones((1, len(drawn)))
    assert METRICS[metric](given, times[None].astype(float)) == pytest.approx(METRICS[metric](rows, once))


def test_the_bound_is_clopper_and_pearsons() -> None:
    """Of independent rows; rows that are alike within blocks count as fewer, and the bound is lower."""
    correct = np.random.default_rng(0).random(400) < 0.7
    exact = binomtest(int(correct.sum()), 400, alternative="greater").proportion_ci(0.95, "exact").low
    assert accuracy_standing(correct, 0.05).at_least == pytest.approx(exact)
    assert accuracy_standing(np.zeros(50, bool), 0.05).at_least == 0
    blocks = np.repeat(np.arange(40), 10)
    assert accuracy_standing(correct, 0.05, blocks).at_least == pytest.approx(exact, abs=0.02)
    alike = np.repeat(np.random.default_rng(1).random(40) < 0.7, 10)
    assert accuracy_standing(alike, 0.05, blocks).at_least < accuracy_standing(alike, 0.05).at_least - 0.05


def test_the_bound_holds_for_rows_in_blocks() -> None:
    """Where ten rows share their luck, it exceeds the true accuracy about as seldom as it is to."""
    rng, blocks = np.random.default_rng(2), np.repeat(np.arange(60), 10)
    above = [accuracy_standing(np.repeat(rng.random(60) < 0.7, 10), 0.05, blocks).at_least > 0.7 for _ in range(400)]
    assert np.mean(above) < 0.09


def model_of(config: Config, rows: pa.Table) -> OnnxModel:
    exported = export_onnx(train(sample_of(rows, config.model)), config.model)
    return load_onnx(exported.SerializeToString(), config.model)


@pytest.mark.parametrize("metric", CATEGORICAL.metrics)
@pytest.mark.parametrize("blocked", [False, True])
def test_a_clear_gain_passes_each_gate_and_none_passes_no_test(
    config: Config, metric: RetrainMetric, *, blocked: bool
) -> None:
    """By each metric the better model passes the bootstrap; two equal ones tie, which `point` alone lets pass."""
    rows = draw_wine(300, seed=1)
    rows = rows.set_column(4, "truth", rows["truth"].take(np.random.default_rng(0).permutation(300)))
    good, bad = model_of(config, draw_wine(300, seed=1)), model_of(config, rows)
    held = sample_of(draw_wine(200, seed=3), config.model)
    blocks = np.arange(200) // 5 if blocked else None
    bootstrap = Gate(test="bootstrap")
    better = compare(bad, good, held, 0.0, metric=metric, gate=bootstrap, blocks=blocks)
    assert (better.passed, better.better) == (True, True)
    assert not compare(good, bad, held, 0.0, metric=metric, gate=bootstrap, blocks=blocks).passed
    assert not compare(good, good, held, 0.0, metric=metric, gate=bootstrap, blocks=blocks).passed
    tie = compare(good, good, held, 0.0, metric=metric, blocks=blocks)
    assert (tie.passed, tie.better) == (True, False)


def test_mcnemar_asks_for_more_than_chance(config: Config) -> None:
    """A gain of one row in two hundred passes `point` and not `mcnemar`; the p-value is the sign test's, one-sided."""
    first = np.array([True] * 3 + [False] * 12 + [True] * 50)
    second = np.array([False] * 3 + [True] * 12 + [True] * 50)
    assert mcnemar_better(first, second) == pytest.approx(binomtest(12, 15, alternative="greater").pvalue)
    sample = sample_of(draw_wine(200), config.model)
    found = compare(model_of(config, draw_wine(100)), model_of(config, draw_wine(100, seed=1)), sample, 0.0)
    assert not replace(found, gate=Gate(test="mcnemar"), gate_p_value=0.3).passed


def test_whole_blocks_of_time_are_held_out() -> None:
    """No block has rows on both sides, but for a rare category's, which stay in training; the shares are kept."""
    rng = np.random.default_rng(0)
    times = np.sort(rng.integers(0, int(DAY * 1e6), 2000))
    labels = np.array(["a", "b"], dtype=object)[(rng.random(2000) < 0.3).astype(int)]
    labels[:3] = "rare"
    sample, blocks = Sample(rng.normal(size=(2000, 1)), labels), blocks_of(times, DAY)
    assert blocks.max() + 1 == BLOCKS
    split = split_rows(sample, 0.3, 1, blocks)
    assert sorted([*split.training, *split.held]) == list(range(2000))
    both = set(blocks[split.training][labels[split.training] != "rare"]) & set(blocks[split.held])
    assert not both
    assert len(split.held) == pytest.approx(600, abs=100)
    assert np.mean(labels[split.held] == "b") == pytest.approx(np.mean(labels == "b"), abs=0.03)
    assert split_rows(sample, 0.3, 1, blocks).held.tolist() == split.held.tolist()


def test_hours_of_a_week_have_the_blocks_of_a_day() -> None:
    """Blocks of a week are as long as such rows; a week's rows have their own."""
    hours, week = np.arange(0, int(10 * 3600 * 1e6), 60_000_000), np.arange(0, int(7 * DAY * 1e6) + 1, 3_600_000_000)
    assert blocks_of(hours, 7 * DAY).max() + 1 == 20
    assert blocks_of(week, 7 * DAY).max() + 1 == BLOCKS + 1


def test_one_block_is_split_at_random() -> None:
    """There is no block to hold out beside another."""
    labels = np.array(["a", "b"] * 100, dtype=object)
    split = split_rows(Sample(np.zeros((200, 1)), labels), 0.3, 1, np.zeros(200, np.intp))
    assert len(split.held) == 60


WELL, BADLY = Accuracy(0.8, 500, 0.77), Accuracy(0.8, 500, 0.74)


def comparison(gain: float, p_value: float) -> Comparison:
    first, second = CLASSIFICATION.score(answers()), CLASSIFICATION.score(answers())
    second = replace(second, accuracy=first.accuracy + gain)
    return Comparison(first, second, CLASSES, 300, 1.0, 0.0, p_value=p_value, gate_p_value=p_value)


@pytest.mark.parametrize(
    ("gain", "p_value", "held", "promised", "changed", "verdict"),
    [
        pytest.param(0.1, 0.01, BADLY, 0.8, True, "Promoted", id="better, and the champion suffers"),
        pytest.param(0.1, 0.01, WELL, 0.8, True, "Promoted", id="better than a champion that is as right as ever"),
        pytest.param(0.0, 1.0, WELL, 0.8, True, "Accepted", id="a tie with one that is as right as ever"),
        pytest.param(-0.1, 1.0, WELL, 0.8, True, "Accepted", id="worse than one that is as right as ever"),
        pytest.param(0.0, 1.0, BADLY, 0.8, True, "Promoted", id="a tie with one that may suffer"),
        pytest.param(-0.1, 1.0, BADLY, 0.8, True, "NotPromoted", id="worse than one that may suffer"),
        pytest.param(0.0, 1.0, WELL, 0.8, False, "Promoted", id="a tie, and nothing has changed"),
        pytest.param(-0.1, 1.0, WELL, 0.8, False, "NotPromoted", id="worse, and nothing has changed"),
        pytest.param(-0.1, 1.0, WELL, None, True, "NotPromoted", id="worse than one that nobody has measured"),
    ],
)
def test_verdicts(
    *, gain: float, p_value: float, held: Accuracy, promised: float | None, changed: bool, verdict: Verdict
) -> None:
    """The table of docs/architecture.md; the margin is three points."""
    gate = RetrainGate(comparison(gain, p_value), held, promised, margin=0.03, changed=changed)
    assert gate.verdict == verdict
    assert "80.0%" in gate.describe_standing()


POINT, BOOTSTRAP = Gate(), Gate(test="bootstrap", level=0.01)


@pytest.mark.parametrize(
    ("compared", "held", "promised", "changed", "told"),
    [
        pytest.param((0.1, 0.01, POINT), BADLY, 0.8, True, (), id="promoted"),
        pytest.param(
            (-0.1, 1.0, POINT), WELL, 0.8, True, ("a gain of +0.000 or more (retrain.minimum_gain), and it is -0.100",),
            id="accepted, for want of a gain",
        ),
        pytest.param(
            (0.1, 0.2, POINT), WELL, 0.8, True, ("more than chance (p of 0.05 at most, retrain.gate), and p is 0.2",),
            id="accepted, for a gain that may be chance",
        ),
        pytest.param(
            (0.1, 0.2, BOOTSTRAP), BADLY, 0.8, True,
            ("(p of 0.01 at most, retrain.gate)", "(retrain.margin): it is right on 80.0% of 500", "margin 3.0%"),
            id="refused by the gate's test",
        ),
        pytest.param(
            (-0.1, 1.0, POINT), WELL, 0.8, False, ("Nothing has changed, so there is nothing to accept",),
            id="refused without a change",
        ),
        pytest.param(
            (-0.1, 1.0, POINT), WELL, None, True, ("measured at its promotion, and this one was not",),
            id="refused beside a champion that nobody has measured",
        ),
    ],
)  # fmt: skip
def test_what_would_have_to_be_different_is_told(
    *, compared: tuple[float, float, Gate], held: Accuracy, promised: float | None, changed: bool, told: tuple[str, ...]
) -> None:
    """By the numbers, and by the keys of the config that ask for them; of a promotion nothing."""
    gain, p_value, by = compared
    gate = RetrainGate(replace(comparison(gain, p_value), gate=by), held, promised, margin=0.03, changed=changed)
    assert all(part in gate.wanting for part in told)
    assert gate.wanting.startswith("A promotion takes a gain ") if told else gate.wanting == ""


def test_rows_from_before_the_change_teach_and_judge_nobody(config: Config) -> None:
    """The older rows are in training alone: the comparison and the champion's standing are of the others."""
    champion = model_of(config, draw_wine(300, seed=1))
    rows = pa.concat_tables([draw_wine(200, shift=6, seed=2), draw_wine(300, seed=3)])
    found = make_candidate(rows, draw_wine(300), champion, config, seed=1, older=200)
    assert (found.standing.rows, found.comparison.rows) == (300, 90)
    assert found.standing.accuracy > 0.9
    assert found.metrics()["champion_accuracy_at_least"] == found.standing.at_least


def test_an_accepted_reference_keeps_what_was_promised(config: Config) -> None:
    """One acceptance after the other is judged by the accuracy of the promotion."""
    champion = model_of(config, draw_wine(300, seed=1))
    table, performance = accepted(draw_wine(200, seed=2), champion, config.model, 0.99)
    right = np.mean(np.array(table["guess"].to_pylist()) == np.array(table["truth"].to_pylist()))
    assert performance.accuracy == right
    assert (performance.rows, performance.promised) == (200, 0.99)
    assert performance.calibration is not None
