"""The model: how it is trained, and how it becomes ONNX."""

import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow as pa
import pyarrow.compute as pc
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from threadpoolctl import threadpool_limits

from flows.training import far_values, quadratic_features
from flows.training.far_values import FarValues
from monitoring.contract.config import Model
from monitoring.contract.errors import DriftloopError
from monitoring.contract.names import ONNX_CLASSES, ONNX_FEATURES

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Labels = npt.NDArray[np.object_]
Places = npt.NDArray[np.intp]

FOLDS = 5
SURE = 1.645  # standard deviations, one-sided: 5 % by chance
PARAMETERS = {"degree": 2, "C": 0.05, "max_iter": 1000}


class ModelError(DriftloopError):
    """A model cannot be trained on these rows."""


@dataclass(frozen=True)
class Sample:
    """Labelled rows: features (n, features), NaN where missing, and labels (n,)."""

    features: Floats
    labels: Labels

    def take(self, places: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> "Sample":
        """Return the rows at these places."""
        return Sample(self.features[places], self.labels[places])

    def extended(self, other: "Sample") -> "Sample":
        """Return these rows and the other's."""
        return Sample(np.concatenate([self.features, other.features]), np.concatenate([self.labels, other.labels]))


def feature_matrix(table: pa.Table, model: Model) -> Floats:
    """Return the table's features (n, features) in the config's order and type; null and infinity become NaN."""
    return _finite(np.column_stack([table[name].to_numpy() for name in model.features]).astype(model.dtype))


def _finite(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, np.full((), np.nan, values.dtype))


def _single(features: Floats) -> Floats:
    """Return features in float32, as the exported pipeline takes them: what it learns is what it will be asked."""
    with np.errstate(over="ignore"):
        return _finite(features.astype(np.float32))


def sample_of(table: pa.Table, model: Model) -> Sample:
    """Return the table's labelled rows as a sample."""
    table = table.filter(pc.is_valid(table[model.target]))
    return Sample(feature_matrix(table, model), np.array(table[model.target].to_pylist(), dtype=object))


def new_pipeline() -> Pipeline:
    """Return the untrained pipeline: impute, bound what is far out, standardise, add products, logistic regression."""
    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        FarValues(),
        StandardScaler(),
        PolynomialFeatures(PARAMETERS["degree"], include_bias=False),
        LogisticRegression(C=PARAMETERS["C"], max_iter=PARAMETERS["max_iter"]),
    )


def train(sample: Sample) -> Pipeline:
    """Train a pipeline; raise ModelError if the labels are all the same."""
    if len(np.unique(sample.labels)) < 2:  # noqa: PLR2004 - a classifier needs two
        raise ModelError("a model needs labelled rows of at least two categories")
    with threadpool_limits(1):  # small matrices: on a busy machine, threads that wait on each other cost tenfold
        return new_pipeline().fit(_single(sample.features), sample.labels)


def predict_out_of_fold(
    sample: Sample, older: Sample | None = None, seed: int = 0, blocks: Places | None = None
) -> tuple[Labels, Floats]:
    """Predict each row by a pipeline that has not seen it, so that the predictions' accuracy is honest.

    Return labels (n,) and confidences (n,): each row's largest probability. `older` rows are in every pipeline's
    training. Rows of one of the `blocks` (n,) of time are in one fold, where there are enough. A category with fewer
    rows than there are folds is spread by chance.
    """
    _, strata, counts = np.unique(sample.labels, return_inverse=True, return_counts=True)
    rare = counts[strata] < FOLDS
    if len(np.unique(strata[~rare])) < 2:  # noqa: PLR2004
        raise ModelError(f"predictions for the reference need two categories with at least {FOLDS} labelled rows each")
    strata[rare] = strata[~rare][0]
    predicted = np.empty(len(sample.labels), dtype=object)
    confidence = np.empty(len(sample.labels), dtype=np.float32)
    for known, unseen in _folds(strata, seed, blocks):
        training = sample.take(known) if older is None else older.extended(sample.take(known))
        pipeline = train(training)
        probabilities = pipeline.predict_proba(_single(sample.features[unseen]))
        predicted[unseen] = pipeline.classes_[probabilities.argmax(axis=1)]
        confidence[unseen] = probabilities.max(axis=1)
    return predicted, confidence


def _folds(strata: Places, seed: int, blocks: Places | None) -> list[tuple[Places, Places]]:
    """Return the places of the rows to learn from and of those to predict, of each fold."""
    if blocks is not None and len(np.unique(blocks)) >= FOLDS:
        folds = list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(strata, strata, blocks))
        if all(len(np.unique(strata[known])) > 1 and len(unseen) for known, unseen in folds):
            return folds
    return list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(strata, strata))


def choose_older(training: Sample, older: Sample, seed: int = 0, blocks: Places | None = None) -> Sample | None:
    """Return the older rows if they help to predict the newer ones out of fold, else None.

    After a mild drift they make up for the newer rows' small number; after a strong one they contradict them. Newer
    rows that depend on each other in `blocks` (n,) of time show less than their number: what was learned from a day
    may not hold on the next one. So there the older rows are left out only if that is better beyond chance, by a
    one-sided test at 5 % of the blocks' differences.
    """
    alone = predict_out_of_fold(training, None, seed, blocks)[0] == training.labels
    together = predict_out_of_fold(training, older, seed, blocks)[0] == training.labels
    gain = alone.astype(np.float64) - together
    if blocks is None:
        return older if gain.sum() <= 0 else None
    of_blocks = np.bincount(blocks, gain)
    return older if of_blocks.sum() <= SURE * np.sqrt((of_blocks**2).sum()) else None


def with_predictions(table: pa.Table, model: Model, pipeline: Pipeline, out_of_fold: Labels) -> pa.Table:
    """Fill the prediction column: labelled rows take theirs out of fold, the others ask the pipeline."""
    unlabelled = pc.is_null(table[model.target]).to_numpy()
    predicted = np.empty(len(table), dtype=object)
    predicted[~unlabelled] = out_of_fold
    if unlabelled.any():
        predicted[unlabelled] = pipeline.predict(_single(feature_matrix(table, model)[unlabelled]))
    return with_answers(table, model, predicted)


def with_answers(table: pa.Table, model: Model, predicted: Labels) -> pa.Table:
    """Return the columns of a reference, with these predictions (n,)."""
    column = pa.array([str(name) for name in predicted], pa.string())
    names = [*model.features, model.target, "timestamp"]
    return table.select([name for name in names if name in table.column_names]).append_column(model.prediction, column)


def export_onnx(pipeline: Pipeline, model: Model) -> onnx.ModelProto:
    """Convert a trained pipeline: input `features` float32 (n, features); outputs `label`, `probabilities`.

    The classes' order and the features stand in the model's metadata as JSON lists.
    """
    kind = FloatTensorType([None, len(model.features)])
    exported = convert_sklearn(
        pipeline,
        initial_types=[("features", kind)],
        options={"zipmap": False},
        custom_shape_calculators={
            FarValues: far_values.calculate_shape,
            PolynomialFeatures: quadratic_features.calculate_shape,
        },
        custom_conversion_functions={FarValues: far_values.convert, PolynomialFeatures: quadratic_features.convert},
    )
    lists = {ONNX_CLASSES: [str(c) for c in pipeline.classes_], ONNX_FEATURES: list(model.features)}
    onnx.helper.set_model_props(exported, {key: json.dumps(names) for key, names in lists.items()})
    return exported
