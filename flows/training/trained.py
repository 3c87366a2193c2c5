"""What trains a candidate, and what it has trained: a recipe of ours, or the user's own trainer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import onnx
import pyarrow as pa
from sklearn.pipeline import Pipeline

from flows.training.answers import Answers
from flows.training.export import export_onnx, require_alike
from flows.training.pipeline import choose_older, choose_recipe, predict_out_of_fold, train
from flows.training.recipes import Recipe
from flows.training.sample import Places, Sample, sample_of
from monitoring.contract.config import Model, RetrainMetric


@dataclass(frozen=True)
class Lesson:
    """What a candidate may learn from: collected rows, and those of the present reference.

    All have labels. Rows that depend on each other lie in one of the `blocks` (n,) of time.
    """

    rows: pa.Table
    reference: pa.Table
    model: Model
    seed: int
    blocks: Places | None = None


class Trained(Protocol):
    """A trained model."""

    @property
    def exported(self) -> onnx.ModelProto:
        """Return it as ONNX."""

    @property
    def apart(self) -> float | None:
        """Return by how much the export has changed its answers; None where that was not measured."""

    @property
    def name(self) -> str:
        """Return what it is called, with an article."""

    @property
    def parameters(self) -> Mapping[str, object]:
        """Return what its training went by."""

    def out_of_fold(self, rows: pa.Table, seed: int, blocks: Places | None) -> Answers:
        """Return the answers for labelled rows of models that were trained alike, and have not seen them."""


class Trainer(Protocol):
    """Trains candidates."""

    def train(self, lesson: Lesson) -> Trained:
        """Train a candidate; raise ModelError if that cannot be done."""


@dataclass(frozen=True)
class RecipeTrained:
    """A recipe's pipeline; `older` are the reference's rows if it learned from them too."""

    recipe: Recipe
    pipeline: Pipeline
    older: Sample | None
    exported: onnx.ModelProto
    apart: float
    model: Model

    @property
    def name(self) -> str:
        """Return the recipe's name."""
        return f"a {self.recipe.name}"

    @property
    def parameters(self) -> Mapping[str, object]:
        """Return the recipe's."""
        older = len(self.older.labels) if self.older else 0
        return {"recipe": self.recipe.name, **self.recipe.parameters, "older_rows": older}

    def out_of_fold(self, rows: pa.Table, seed: int, blocks: Places | None) -> Answers:
        """Return the answers of the recipe's pipelines, each trained on the other folds and the older rows."""
        return predict_out_of_fold(sample_of(rows, self.model), self.older, seed, blocks, self.recipe)


@dataclass(frozen=True)
class RecipeTrainer:
    """Trains the recipe that predicts best by a metric."""

    metric: RetrainMetric

    def train(self, lesson: Lesson) -> RecipeTrained:
        """Choose a recipe, and whether the reference's rows help, and train."""
        model, seed, blocks = lesson.model, lesson.seed, lesson.blocks
        training = sample_of(lesson.rows, model)
        recipe = choose_recipe(training, self.metric, seed, blocks)
        older = choose_older(training, sample_of(lesson.reference, model), seed, blocks, recipe)
        pipeline = train(older.extended(training) if older else training, recipe)
        exported = export_onnx(pipeline, model)
        return RecipeTrained(recipe, pipeline, older, exported, require_alike(exported, pipeline, training), model)
