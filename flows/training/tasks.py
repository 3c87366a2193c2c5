"""What the task means in training: which recipes there are, how rows are spread, and what a model's answers are worth.

One class per task, chosen here alone; `Sample.task` or `Model.task` names it.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy.typing as npt
import pyarrow as pa
from sklearn.pipeline import Pipeline

from flows.training.answers import Answers
from flows.training.classification import Classification
from flows.training.recipes import Recipe
from flows.training.regression import Regression
from flows.training.sample import Labels, Places, Rows
from flows.training.scores import Scores, Standing
from monitoring.contract.config import Model, Retrain
from monitoring.contract.reference import Performance
from monitoring.contract.tasks import TaskName


class Task(Protocol):
    """What depends on the task."""

    recipes: tuple[Recipe, ...]

    def usable(self, labels: pa.ChunkedArray, model: Model) -> pa.ChunkedArray:
        """Return which labels (n,) a reference may hold."""

    def shortage(self, labels: Labels, retrain: Retrain) -> str | None:
        """Say why a candidate cannot be made of labels (n,), however many they are; None if it can."""

    def require_learnable(self, labels: Labels) -> None:
        """Raise ModelError if no model can be made of labels (n,)."""

    def strata(self, labels: Labels) -> Places:
        """Return the groups of like labels (n,) that held-out rows are drawn from in equal shares."""

    def fold_strata(self, labels: Labels) -> Places:
        """Return the groups (n,) that folds spread, none smaller than there are folds; raise ModelError without any."""

    def names(self, labels: Labels) -> tuple[str, ...]:
        """Return the classes that labels (n,) name."""

    def classes(self, pipeline: Pipeline) -> tuple[str, ...]:
        """Return the classes of a trained pipeline's probabilities."""

    def predict(self, pipeline: Pipeline, asked: Rows, model: Model | None) -> tuple[Labels, npt.NDArray[Any]]:
        """Return predictions (n,) and probabilities (n, classes) for features as an exported model is fed with them."""

    def losses(self, answers: Answers) -> npt.NDArray[Any]:
        """Return what each answer loses (n,)."""

    def score(self, answers: Answers) -> Scores:
        """Return all scores of a model's answers."""

    def standing(self, answers: Answers, level: float, blocks: Places | None = None) -> Standing:
        """Return how good a model is on rows that it has not seen; their `blocks` of time (n,) depend on each other."""

    def performance(self, answers: Answers, promised: float | None = None) -> Performance:
        """Return what answers on unseen rows let expect of the model; `promised` is that of its promotion."""

    def compare(self, first: Answers, second: Answers) -> tuple[float, float]:
        """Return the second model's gain on the same rows, and the two-sided p-value of there being none."""

    def describe_pair(self, first: Answers, second: Answers) -> tuple[str, str, str]:
        """Say of both models, as predicates, how good they are on the same rows, and by which test they compare."""


TASKS: Mapping[TaskName, Task] = {"classification": Classification(), "regression": Regression()}
