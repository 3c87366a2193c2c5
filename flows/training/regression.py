"""Training for a regression: labels are finite numbers, and answers are judged by how far they are off."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import stdtrit
from sklearn.pipeline import Pipeline

from flows.training.answers import Answers
from flows.training.errors import ModelError
from flows.training.metrics import metric_value
from flows.training.paired_tests import bootstrap
from flows.training.recipes import REGRESSORS, Recipe
from flows.training.sample import FOLDS, Labels, Places, Rows
from flows.training.scores import design_effect
from monitoring.contract.config import Model, Retrain, RetrainMetric
from monitoring.contract.reference import ERRORS_BOUND, Performance

STRATA = 5  # of like labels: each fifth of them has its share in every fold and split


@dataclass(frozen=True)
class ErrorScores:
    """One model on the held-out rows, in the label's units; `mean_error` is prediction less label."""

    mae: float
    rmse: float
    mean_error: float
    recall: Mapping[str, float]

    @property
    def values(self) -> Mapping[RetrainMetric, float]:
        """Return the metrics."""
        return {"mae": self.mae, "rmse": self.rmse}


@dataclass(frozen=True)
class MeanAbsoluteError:
    """How far the champion is off on labelled rows that it has not seen; `at_most` is a one-sided upper bound."""

    mae: float
    rows: int
    at_most: float

    def holds(self, promised: float, margin: float) -> bool:
        """Say whether the upper bound is not above the promised error and its margin, which is a share of it."""
        return self.at_most <= promised * (1 + margin)

    def describe(self, promised: float | None, margin: float) -> str:
        """Say how far off it is, as part of a sentence."""
        known = "of its promotion nothing is known" if promised is None else f"{promised:.4g} at promotion"
        return (
            f"its mean absolute error is {self.mae:.4g} on {self.rows} labelled rows that it has not seen (at most "
            f"{self.at_most:.4g}; {known}, margin {margin:.1%} of it)"
        )

    def metrics(self) -> dict[str, float]:
        """Return error and bound."""
        return {"champion_mae_since_change": self.mae, "champion_mae_at_most": self.at_most}


class Regression:
    """What training does with numbers."""

    recipes: tuple[Recipe, ...] = REGRESSORS

    def usable(self, labels: pa.ChunkedArray, model: Model) -> pa.ChunkedArray:  # noqa: ARG002 - all models' are numbers
        """Return which labels are finite numbers."""
        return pc.fill_null(pc.is_finite(labels), False)

    def shortage(self, labels: Labels, retrain: Retrain) -> str | None:  # noqa: ARG002 - any two numbers suffice
        """Say that all labels are one number."""
        if len(np.unique(labels)) < 2:  # noqa: PLR2004 - a regression needs two
            return f"labels that differ are needed; all {len(labels)} are {labels[0]:g}"
        return None

    def require_learnable(self, labels: Labels) -> None:
        """Raise ModelError if the labels are all the same."""
        if len(np.unique(labels)) < 2:  # noqa: PLR2004
            raise ModelError("a model needs labelled rows whose labels differ")

    def strata(self, labels: Labels) -> Places:
        """Return the fifth that each label lies in."""
        edges = np.unique(np.quantile(labels, np.arange(1, STRATA) / STRATA))
        return np.asarray(np.searchsorted(edges, labels, side="right"), np.intp)

    def fold_strata(self, labels: Labels) -> Places:
        """Return the fifths, or where some are too small for the folds, one stratum."""
        if len(labels) < FOLDS:
            raise ModelError(f"predictions for the reference need at least {FOLDS} labelled rows")
        strata = self.strata(labels)
        rare = np.bincount(strata)[strata] < FOLDS
        return np.zeros_like(strata) if rare.any() else strata

    def names(self, labels: Labels) -> tuple[str, ...]:  # noqa: ARG002
        """Return none."""
        return ()

    def classes(self, pipeline: Pipeline) -> tuple[str, ...]:  # noqa: ARG002
        """Return none."""
        return ()

    def predict(
        self,
        pipeline: Pipeline,
        asked: Rows,
        model: Model | None,  # noqa: ARG002 - of categories
    ) -> tuple[Labels, npt.NDArray[Any]]:
        """Return numbers, and no probabilities."""
        predicted = np.asarray(pipeline.predict(asked), np.float64).reshape(-1)
        return predicted, np.empty((len(predicted), 0))

    def losses(self, answers: Answers) -> npt.NDArray[np.float64]:
        """Return the absolute errors."""
        return np.abs(answers.errors)

    def score(self, answers: Answers) -> ErrorScores:
        """Return the errors."""
        return ErrorScores(
            mae=metric_value("mae", answers),
            rmse=metric_value("rmse", answers),
            mean_error=float(answers.errors.mean()),
            recall={},
        )

    def standing(self, answers: Answers, level: float, blocks: Places | None = None) -> MeanAbsoluteError:
        """Return the mean absolute error, and the bound above which it is with probability `level` at most.

        The bound is Student's. Rows in `blocks` of time count as as many as their variance is worth (Kish 1965).
        """
        losses = self.losses(answers)
        losses = np.minimum(losses, np.quantile(losses, ERRORS_BOUND, method="higher"))  # as the promise counts them
        rows, mae = len(losses), float(losses.mean())
        effective = max(rows / design_effect(losses, blocks), 2.0)
        spread = float(losses.std(ddof=1)) if rows > 1 else math.inf
        return MeanAbsoluteError(
            mae, rows, mae + float(stdtrit(effective - 1, 1 - level)) * spread / math.sqrt(effective)
        )

    def performance(self, answers: Answers, promised: float | None = None) -> Performance:
        """Return the absolute errors' mean, bound and deviation, of the rows that have an answer."""
        errors = np.abs(answers.errors[np.isfinite(answers.predicted)])
        return Performance.of_errors(pa.array(errors), promised)

    def compare(self, first: Answers, second: Answers) -> tuple[float, float]:
        """Return the share of the mean absolute error that is gained, and a paired bootstrap's p-value."""
        was, now = (float(self.losses(answers).mean()) for answers in (first, second))
        one_sided = min(bootstrap("mae", first, second)[0], bootstrap("mae", second, first)[0])
        return (was - now) / (was or 1.0), min(1.0, 2 * one_sided)

    def describe_pair(self, first: Answers, second: Answers) -> tuple[str, str, str]:
        """Say how far both are off."""
        was, now = (f"is off by {self.losses(answers).mean():.4g} on average" for answers in (first, second))
        return was, now, "paired bootstrap,"
