"""Training for a classification: labels are categories, and a model gives each of them a probability."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import betaincinv
from sklearn.metrics import confusion_matrix, recall_score
from sklearn.pipeline import Pipeline

from flows.training.answers import Answers
from flows.training.errors import ModelError
from flows.training.metrics import metric_value
from flows.training.paired_tests import mcnemar
from flows.training.recipes import CLASSIFIERS, Recipe
from flows.training.reliability import fit_reliability_curve
from flows.training.sample import FOLDS, Labels, Places, Rows
from flows.training.scores import design_effect
from monitoring.contract.config import Model, Retrain, RetrainMetric
from monitoring.contract.onnx.decision import decide
from monitoring.contract.reference import Performance


@dataclass(frozen=True)
class CategoryScores:
    """One model on the held-out rows; log loss in nats, recall per category. `roc_auc` is NaN for one category."""

    accuracy: float
    macro_f1: float
    log_loss: float
    roc_auc: float
    recall: Mapping[str, float]
    confusion: npt.NDArray[np.int64]

    @property
    def values(self) -> Mapping[RetrainMetric, float]:
        """Return the metrics."""
        return {
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "log_loss": self.log_loss,
            "roc_auc": self.roc_auc,
        }


@dataclass(frozen=True)
class Accuracy:
    """How right the champion is on labelled rows that it has not seen; `at_least` is a one-sided lower bound."""

    accuracy: float
    rows: int
    at_least: float

    def holds(self, promised: float, margin: float) -> bool:
        """Say whether the lower bound is not below the promised accuracy less the margin."""
        return self.at_least >= promised - margin

    def describe(self, promised: float | None, margin: float) -> str:
        """Say how right it is, as part of a sentence."""
        known = "of its promotion nothing is known" if promised is None else f"{promised:.1%} at promotion"
        return (
            f"it is right on {self.accuracy:.1%} of {self.rows} labelled rows that it has not seen (at least "
            f"{self.at_least:.1%}; {known}, margin {margin:.1%})"
        )

    def metrics(self) -> dict[str, float]:
        """Return accuracy and bound."""
        return {
            "champion_accuracy_since_change": self.accuracy,
            "champion_accuracy_at_least": self.at_least,
        }


class Classification:
    """What training does with categories."""

    recipes: tuple[Recipe, ...] = CLASSIFIERS

    def usable(self, labels: pa.ChunkedArray, model: Model) -> pa.ChunkedArray:
        """Return which labels are categories that the config names."""
        return pc.is_in(labels, value_set=pa.array(model.categories))

    def shortage(self, labels: Labels, retrain: Retrain) -> str | None:
        """Say that there are not two categories of which every fold and split has rows."""
        each = math.ceil(FOLDS / min(retrain.holdout, 1 - retrain.holdout))
        names, counts = np.unique(labels, return_counts=True)
        enough = [str(name) for name, count in zip(names, counts, strict=True) if count >= each]
        if len(enough) < 2:  # noqa: PLR2004 - a classifier needs two
            named = ", ".join(enough) or "none"
            return (
                f"two categories with at least {each} labelled rows are needed (by retrain.holdout); those that have "
                f"them: {named}. Labels of another category would do, and /feedback takes them"
            )
        return None

    def require_learnable(self, labels: Labels) -> None:
        """Raise ModelError if the labels are all the same."""
        if len(np.unique(labels)) < 2:  # noqa: PLR2004 - a classifier needs two
            raise ModelError("a model needs labelled rows of at least two categories")

    def strata(self, labels: Labels) -> Places:
        """Return the categories' numbers."""
        return np.asarray(np.unique(labels, return_inverse=True)[1], np.intp)

    def fold_strata(self, labels: Labels) -> Places:
        """Return the categories' numbers; a category with fewer rows than there are folds is spread by chance."""
        strata = self.strata(labels)
        rare = np.bincount(strata)[strata] < FOLDS
        if len(np.unique(strata[~rare])) < 2:  # noqa: PLR2004
            raise ModelError(
                f"predictions for the reference need two categories with at least {FOLDS} labelled rows each"
            )
        strata[rare] = strata[~rare][0]
        return strata

    def names(self, labels: Labels) -> tuple[str, ...]:
        """Return the categories, sorted."""
        return tuple(sorted({str(name) for name in labels}))

    def classes(self, pipeline: Pipeline) -> tuple[str, ...]:
        """Return the categories that the pipeline knows."""
        return tuple(str(name) for name in pipeline.classes_)

    def predict(self, pipeline: Pipeline, asked: Rows, model: Model | None) -> tuple[Labels, npt.NDArray[Any]]:
        """Return each row's category, as the model's threshold decides, or the most probable one."""
        probabilities, classes = pipeline.predict_proba(asked), self.classes(pipeline)
        places = probabilities.argmax(axis=1) if model is None else decide(probabilities, classes, model)
        return np.array(classes, dtype=object)[places], probabilities

    def losses(self, answers: Answers) -> npt.NDArray[np.float64]:
        """Return 1 for each wrong answer."""
        return (~answers.correct).astype(np.float64)

    def score(self, answers: Answers) -> CategoryScores:
        """Return the scores; macro F1 is the mean over the categories that occur in the rows."""
        present = sorted(set(answers.labels))
        recall = recall_score(answers.labels, answers.predicted, labels=present, average=None, zero_division=0)
        return CategoryScores(
            accuracy=metric_value("accuracy", answers),
            macro_f1=metric_value("macro_f1", answers),
            log_loss=metric_value("log_loss", answers),
            roc_auc=metric_value("roc_auc", answers),
            recall=dict(zip(present, recall.tolist(), strict=True)),
            confusion=confusion_matrix(answers.labels, answers.predicted, labels=sorted({*present, *answers.classes})),
        )

    def standing(self, answers: Answers, level: float, blocks: Places | None = None) -> Accuracy:
        """Return the accuracy, and the bound below which it is with probability `level` at most."""
        return accuracy_standing(answers.correct, level, blocks)

    def performance(self, answers: Answers, promised: float | None = None) -> Performance:
        """Return the accuracy, and how it goes with the confidence, where that is known."""
        right = answers.correct
        curve = fit_reliability_curve(answers.confidence.astype(np.float32), right) if answers.classes else None
        return Performance(float(right.mean()), len(right), curve, promised)

    def compare(self, first: Answers, second: Answers) -> tuple[float, float]:
        """Return the gain in accuracy, and McNemar's exact p-value."""
        gain = float(second.correct.mean() - first.correct.mean())
        return gain, mcnemar(first.correct, second.correct)

    def describe_pair(self, first: Answers, second: Answers) -> tuple[str, str, str]:
        """Say how often both are right."""
        was, now = (f"is right on {answers.correct.mean():.1%}" for answers in (first, second))
        return was, now, "McNemar's"


def accuracy_standing(correct: npt.NDArray[np.bool_], level: float, blocks: Places | None = None) -> Accuracy:
    """Return how often a model is right, and the bound below which its accuracy is with probability `level` at most.

    The bound is Clopper and Pearson's (1934). Where rows lie in `blocks` of time (n,) and depend on each other in them,
    they count as fewer: as many as would give the variance that the blocks show (Korn and Graubard 1998, "Confidence
    intervals for proportions with small expected number of positive counts estimated from survey data").
    """
    rows, accuracy = len(correct), float(np.mean(correct))
    effective = rows / design_effect(correct.astype(np.float64), blocks)
    right = accuracy * effective
    return Accuracy(accuracy, rows, float(betaincinv(right, effective - right + 1, level)) if right else 0.0)
