"""Champion and candidate on the same held-out rows, the gate, and how right the champion is since the change."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, betaincinv
from sklearn.metrics import confusion_matrix, recall_score

from flows.training.metrics import METRICS, TITLES, Answers, metric_value
from flows.training.pipeline import Places, Sample
from monitoring.contract.config import Gate, RetrainMetric
from monitoring.contract.onnx.model import OnnxModel

DRAWS = 2000  # of the bootstrap
POINT = Gate()
_MOST_WEIGHTS = 2_000_000  # in memory at once
_SEED = 0  # of its draws: the same rows give the same verdict
_TOLERANCE = 1e-12  # that of adding two fractions


@dataclass(frozen=True)
class Scores:
    """One model on the held-out rows; log loss in nats, recall per category. `roc_auc` is NaN for one category."""

    accuracy: float
    macro_f1: float
    log_loss: float
    roc_auc: float
    recall: dict[str, float]
    correct: npt.NDArray[np.bool_]
    confusion: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Comparison:
    """Champion and candidate on the same rows; `categories` are those that occur in them.

    `p_value` is that of no gain at all, one-sided, `gate_p_value` that of less than `minimum_gain`, by the gate's test.
    """

    champion: Scores
    candidate: Scores
    categories: tuple[str, ...]
    rows: int
    mcnemar_p_value: float
    minimum_gain: float
    metric: RetrainMetric = "accuracy"
    gate: Gate = POINT
    p_value: float = 1.0
    gate_p_value: float = 1.0

    @property
    def gain(self) -> float:
        """Return what the candidate adds to the metric; of the log loss, what it takes away."""
        champion, candidate = (float(getattr(who, self.metric)) for who in (self.champion, self.candidate))
        return champion - candidate if self.metric == "log_loss" else candidate - champion

    @property
    def better(self) -> bool:
        """Say whether the candidate's gain is more than chance."""
        return self.gain > 0 and self.p_value <= self.gate.level

    @property
    def passed(self) -> bool:
        """Say whether the gate lets the candidate pass.

        By the gate `point` a tie at `minimum_gain` passes: the candidate has learned from the newer rows, and
        promotion re-bases the reference.
        """
        reached = self.gain >= self.minimum_gain - _TOLERANCE
        return reached and (self.gate.test == "point" or self.gate_p_value <= self.gate.level)

    def describe(self) -> str:
        """Return both models' values of the metric, the candidate's first."""
        old, new = (getattr(who, self.metric) for who in (self.champion, self.candidate))
        return f"{TITLES[self.metric]} {new:.3f} against {old:.3f}"


@dataclass(frozen=True)
class Standing:
    """How right the champion is on labelled rows that it has not seen; `at_least` is a one-sided lower bound."""

    accuracy: float
    rows: int
    at_least: float


def ask(model: OnnxModel, rows: Sample) -> Answers:
    """Return a model's answers on labelled rows."""
    predicted, probabilities = model.predict(rows.features)
    return Answers(rows.labels, predicted, probabilities, model.classes)


def score(answers: Answers) -> Scores:
    """Score a model's answers on held-out rows; macro F1 is the mean over the categories that occur in them."""
    labels, predicted = answers.labels, answers.predicted
    present = sorted(set(labels))
    recall = recall_score(labels, predicted, labels=present, average=None, zero_division=0)
    return Scores(
        accuracy=metric_value("accuracy", answers),
        macro_f1=metric_value("macro_f1", answers),
        log_loss=metric_value("log_loss", answers),
        roc_auc=metric_value("roc_auc", answers),
        recall=dict(zip(present, recall.tolist(), strict=True)),
        correct=answers.correct,
        confusion=confusion_matrix(labels, predicted, labels=sorted({*present, *answers.classes})),
    )


def compare(
    champion: OnnxModel,
    candidate: OnnxModel,
    held: Sample,
    minimum_gain: float,
    *,
    metric: RetrainMetric = "accuracy",
    gate: Gate = POINT,
    blocks: Places | None = None,
) -> Comparison:
    """Score both models on the same rows and test whether the candidate is better.

    The test is McNemar's exact one, one-sided, for accuracies of rows that do not depend on each other, and for the
    gate `mcnemar`. Else it is a paired bootstrap: rows are drawn with replacement, or the `blocks` of time (n,) that
    they lie in, and the p-value is the share of draws without a gain (Efron and Tibshirani 1993, chapter 16; of
    blocks, Künsch 1989).
    """
    first, second = ask(champion, held), ask(candidate, held)
    if gate.test == "mcnemar" or (gate.test == "point" and metric == "accuracy" and blocks is None):
        p_value = gate_p_value = mcnemar_better(first.correct, second.correct)
    else:
        value, groups = METRICS[metric], np.arange(len(held.labels)) if blocks is None else blocks
        gains = np.concatenate([value(second, drawn) - value(first, drawn) for drawn in _draws(groups)])
        p_value, gate_p_value = (_share(~(gains > bound + _TOLERANCE)) for bound in (0.0, minimum_gain))
    old, new = score(first), score(second)
    return Comparison(
        champion=old,
        candidate=new,
        categories=tuple(old.recall),
        rows=len(held.labels),
        mcnemar_p_value=mcnemar(old.correct, new.correct),
        minimum_gain=minimum_gain,
        metric=metric,
        gate=gate,
        p_value=p_value,
        gate_p_value=gate_p_value,
    )


def standing(correct: npt.NDArray[np.bool_], level: float, blocks: Places | None = None) -> Standing:
    """Return how often a model is right, and the bound below which its accuracy is with probability `level` at most.

    The bound is Clopper and Pearson's (1934). Where rows lie in `blocks` of time (n,) and depend on each other in them,
    they count as fewer: as many as would give the variance that the blocks show (Korn and Graubard 1998, "Confidence
    intervals for proportions with small expected number of positive counts estimated from survey data").
    """
    rows, accuracy = len(correct), float(np.mean(correct))
    effective = rows / _design_effect(correct, blocks)
    right = accuracy * effective
    return Standing(accuracy, rows, float(betaincinv(right, effective - right + 1, level)) if right else 0.0)


def _design_effect(correct: npt.NDArray[np.bool_], blocks: Places | None) -> float:
    """Return by how much the variance of a mean over blocks exceeds that of independent rows; 1 at least (Kish 1965).

    The variance is that of a ratio of sums over the blocks.
    """
    variance = float(np.var(correct))
    if blocks is None or not variance or (number := int(blocks.max()) + 1) < 2:  # noqa: PLR2004 - a variance needs two
        return 1.0
    deviations = np.bincount(blocks, correct - np.mean(correct), number)
    between = number / (number - 1) * float(np.sum(deviations**2)) / len(correct)
    return max(1.0, between / variance)


def _draws(groups: Places) -> Iterator[npt.NDArray[np.float64]]:
    """Yield how often each row (n,) is drawn in draws of as many groups as there are, DRAWS in all."""
    _, groups = np.unique(groups, return_inverse=True)
    number, rng = int(groups.max()) + 1, np.random.default_rng(_SEED)
    at_once = max(1, _MOST_WEIGHTS // len(groups))
    for begin in range(0, DRAWS, at_once):
        counts = rng.multinomial(number, np.full(number, 1 / number), min(at_once, DRAWS - begin))
        yield counts[:, groups].astype(np.float64)


def _share(what: npt.NDArray[np.bool_]) -> float:
    return float((np.sum(what) + 1) / (len(what) + 1))


def mcnemar(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """Return McNemar's exact two-sided p-value (a binomial test on the rows that just one model gets right)."""
    return min(1.0, 2.0 * min(mcnemar_better(first, second), mcnemar_better(second, first)))


def mcnemar_better(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """Return McNemar's exact p-value of the second model being no better than the first."""
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    discordant = only_first + only_second
    return float(bdtr(only_first, discordant, 0.5)) if discordant else 1.0
