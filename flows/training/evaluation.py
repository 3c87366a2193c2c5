"""Champion and candidate on the same held-out rows, and the gate."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr
from sklearn.metrics import confusion_matrix, f1_score, recall_score
from sklearn.model_selection import train_test_split

from flows.training.pipeline import FOLDS, Labels, Sample
from monitoring.contract.onnx.model import OnnxModel

_FLOOR = 1e-7  # a category that a model does not know has no probability; the log loss stays finite


@dataclass(frozen=True)
class Scores:
    """One model on the held-out rows; log loss in nats, recall per category."""

    accuracy: float
    macro_f1: float
    log_loss: float
    recall: dict[str, float]
    correct: npt.NDArray[np.bool_]
    confusion: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Comparison:
    """Champion and candidate on the same rows; `categories` are those that occur in them."""

    champion: Scores
    candidate: Scores
    categories: tuple[str, ...]
    rows: int
    mcnemar_p_value: float
    minimum_gain: float

    @property
    def gain(self) -> float:
        """Return the accuracy that the candidate adds."""
        return self.candidate.accuracy - self.champion.accuracy

    @property
    def passed(self) -> bool:
        """Say whether the gate lets the candidate pass.

        A tie at `minimum_gain` passes: the candidate has learned from the newer rows, and promotion re-bases the
        reference. The tolerance is that of adding two fractions.
        """
        return self.gain >= self.minimum_gain - 1e-12


def hold_out(sample: Sample, share: float, seed: int) -> tuple[Sample, Sample]:
    """Split into rows to train on and rows held out, stratified by label.

    Categories with fewer rows than there are folds are too rare to be held out: they stay in training.
    """
    labels, places, counts = np.unique(sample.labels, return_inverse=True, return_counts=True)
    rare = counts[places] < FOLDS
    common = np.flatnonzero(~rare)
    size = max(round(share * len(common)), len(labels) - (counts < FOLDS).sum())
    kept, held = train_test_split(common, test_size=size, random_state=seed, stratify=sample.labels[common])
    return sample.take(np.concatenate([kept, np.flatnonzero(rare)])), sample.take(held)


def score(model: OnnxModel, held: Sample) -> Scores:
    """Score a model on held-out rows; macro F1 is the mean over the categories that occur in them.

    A row that the model has no answer for counts as wrong.
    """
    predicted, probabilities = model.predict(held.features)
    present = sorted(set(held.labels))
    return Scores(
        accuracy=float(np.mean(predicted == held.labels)),
        macro_f1=float(f1_score(held.labels, predicted, labels=present, average="macro", zero_division=0)),
        log_loss=_log_loss(probabilities, model.classes, held.labels),
        recall=dict(
            zip(
                present,
                recall_score(held.labels, predicted, labels=present, average=None, zero_division=0).tolist(),
                strict=True,
            )
        ),
        correct=np.asarray(predicted == held.labels, dtype=np.bool_),
        confusion=confusion_matrix(held.labels, predicted, labels=sorted({*present, *model.classes})),
    )


def _log_loss(probabilities: npt.NDArray[np.float64], classes: tuple[str, ...], labels: Labels) -> float:
    place = {name: i for i, name in enumerate(classes)}
    given = [
        float(row[place[label]]) if label in place else 0.0
        for row, label in zip(np.nan_to_num(probabilities), labels, strict=True)
    ]
    return float(-np.mean(np.log(np.maximum(given, _FLOOR))))


def compare(champion: OnnxModel, candidate: OnnxModel, held: Sample, minimum_gain: float) -> Comparison:
    """Score both models on the same rows and test whether they differ."""
    old, new = score(champion, held), score(candidate, held)
    return Comparison(
        champion=old,
        candidate=new,
        categories=tuple(old.recall),
        rows=len(held.labels),
        mcnemar_p_value=mcnemar(old.correct, new.correct),
        minimum_gain=minimum_gain,
    )


def mcnemar(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """Return McNemar's exact two-sided p-value (a binomial test on the rows that just one model gets right)."""
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    discordant = only_first + only_second
    return min(1.0, 2.0 * float(bdtr(min(only_first, only_second), discordant, 0.5))) if discordant else 1.0
