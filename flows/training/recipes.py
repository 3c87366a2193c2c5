"""What a candidate may be: a few pipelines per task, of which a retraining takes the one that predicts best.

They differ in what they can learn. Linear models of the features and their products are small and hard to mislead; a
kernel's (Williams and Seeger 2001, by the Nyström method) learn what is smooth, boosted trees what has edges. All are
quick to train and to serve, and convert to ONNX.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline

from flows.training.columns import Columns, Step, prepared
from flows.training.kernel_features import KernelFeatures
from flows.training.sample import Kinds

LANDMARKS = 400  # rows that a kernel's features are taken from
_TREES = {"max_iter": 100, "learning_rate": 0.08, "max_leaf_nodes": 15, "min_samples_leaf": 20}
_FEWER = {**_TREES, "max_iter": 60}


@dataclass(frozen=True)
class Recipe:
    """A pipeline by name: how features of each kind are prepared, and what learns from them."""

    name: str
    parameters: Mapping[str, object]
    prepare: Callable[[Columns], list[Step]]
    learn: Callable[[], list[Step]]
    most_categories: int | None = None  # of a classification, where each costs a model of its own

    def build(self, kinds: Kinds) -> Pipeline:
        """Return the untrained pipeline for features of these kinds."""
        return make_pipeline(*prepared(kinds, self.prepare), *self.learn())


def _quadratic(columns: Columns) -> list[Step]:
    return columns.linear(quadratic=True)


def _scaled(columns: Columns) -> list[Step]:
    return columns.linear(quadratic=False)


def _split(columns: Columns) -> list[Step]:
    return columns.split()


QUADRATIC = Recipe(
    "quadratic logistic regression",
    {"degree": 2, "C": 0.05, "max_iter": 1000},
    _quadratic,
    lambda: [LogisticRegression(C=0.05, max_iter=1000)],
)
RIDGE = Recipe("quadratic ridge regression", {"degree": 2, "alpha": 10.0}, _quadratic, lambda: [Ridge(alpha=10.0)])

CLASSIFIERS = (
    QUADRATIC,
    Recipe(
        "kernel logistic regression",
        {"landmarks": LANDMARKS, "C": 20.0, "max_iter": 1000},
        _scaled,
        lambda: [KernelFeatures(LANDMARKS), LogisticRegression(C=20.0, max_iter=1000)],
    ),
    Recipe(
        "boosted trees",
        _FEWER,
        _split,
        lambda: [HistGradientBoostingClassifier(**_FEWER, early_stopping=False, random_state=0)],
        most_categories=4,
    ),
)
REGRESSORS = (
    RIDGE,
    Recipe(
        "kernel ridge regression",
        {"landmarks": LANDMARKS, "alpha": 1.0},
        _scaled,
        lambda: [KernelFeatures(LANDMARKS), Ridge(alpha=1.0)],
    ),
    Recipe(
        "boosted trees of the mean",
        _TREES,
        _split,
        lambda: [HistGradientBoostingRegressor(**_TREES, early_stopping=False, random_state=0)],
    ),
    Recipe(
        "boosted trees of the median",
        {**_TREES, "loss": "absolute_error"},
        _split,
        lambda: [HistGradientBoostingRegressor(**_TREES, loss="absolute_error", early_stopping=False, random_state=0)],
    ),
)
