"""How a trained pipeline becomes ONNX, and that it answers there as it did before."""

import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import PolynomialFeatures

from flows.training import boosted_trees, far_values, kernel_features, levels, quadratic_features
from flows.training.columns import KINDS
from flows.training.errors import ModelError
from flows.training.far_values import FarValues
from flows.training.kernel_features import KernelFeatures
from flows.training.levels import LevelIndicators, LevelMeans
from flows.training.sample import Sample, feed, kinds_of
from flows.training.tasks import TASKS
from monitoring.contract.config import Model
from monitoring.contract.names import ONNX_CLASSES, ONNX_FEATURES
from monitoring.contract.onnx.onnx_runtime import open_session

TOLERANCE = 1e-3  # of a probability, and of a regression's answers as a share of the labels' spread
ROUNDINGS = 16_000  # of an answer, of which TOLERANCE are sixteen
CONVERTERS: Mapping[type[Any], Any] = {
    FarValues: far_values,
    PolynomialFeatures: quadratic_features,
    KernelFeatures: kernel_features,
    LevelIndicators: levels,
    LevelMeans: levels,
    HistGradientBoostingClassifier: boosted_trees,
    HistGradientBoostingRegressor: boosted_trees,
}


def export_onnx(pipeline: Pipeline, model: Model) -> onnx.ModelProto:
    """Convert a trained pipeline: outputs `label` and `probabilities`, or for a regression `variable`.

    Numeric features alone are one input, `features` float32 (n, features). With categorical ones each feature is an
    input (n, 1) of float32 or text, which has its name. The order of the classes and the features stand in the model's
    metadata as JSON lists.
    """
    exported = convert_sklearn(
        pipeline,
        initial_types=_inputs(model),
        options={"zipmap": False} if model.categories else None,
        custom_shape_calculators={step: module.calculate_shape for step, module in CONVERTERS.items()},
        custom_conversion_functions={step: module.convert for step, module in CONVERTERS.items()},
    )
    if kinds_of(model):
        name_inputs(exported.graph, model.features)
    lists = {ONNX_CLASSES: TASKS[model.task].classes(pipeline), ONNX_FEATURES: model.features}
    onnx.helper.set_model_props(exported, {key: json.dumps(names) for key, names in lists.items() if names})
    return exported


def _inputs(model: Model) -> list[tuple[str, Any]]:
    if not kinds_of(model):
        return [("features", FloatTensorType([None, len(model.features)]))]
    # the converter changes names, so each gets its own afterwards
    return [(f"feature_{at}", KINDS[model.kind(n).name].tensor([None, 1])) for at, n in enumerate(model.features)]


def name_inputs(graph: onnx.GraphProto, features: Sequence[str]) -> None:
    """Call each input what its feature is called; what has such a name already inside the graph gives it up."""
    names = dict(zip((node.name for node in graph.input), features, strict=True))
    inside = {name for node in graph.node for name in node.output} | {one.name for one in graph.initializer}
    taken = inside | set(features)
    for name in inside & set(features):
        names[name] = _unused(name, taken)
        taken.add(names[name])
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for one in (*graph.input, *graph.output, *graph.initializer):
        one.name = names.get(one.name, one.name)


def _unused(name: str, taken: Collection[str]) -> str:
    """Return a name like this one that nothing has."""
    return next(other for n in itertools.count(1) if (other := f"{name}_{n}") not in taken)


def difference(exported: onnx.ModelProto, pipeline: Pipeline, sample: Sample) -> float:
    """Return the largest difference between the exported model's answers and the pipeline's on these rows.

    It is one of probabilities, or for a regression the share of the labels' standard deviation; where that is small
    beside the answers themselves, which are float32 there, of so many of their roundings.
    """
    session = open_session(exported.SerializeToString())
    inputs = tuple(node.name for node in session.get_inputs())
    given = session.run(None, feed(sample.features, inputs, sample.kinds))[-1]
    predicted, probabilities = TASKS[sample.task].predict(pipeline, sample.asked, None)
    if probabilities.shape[1]:
        return float(np.abs(given - probabilities).max())
    unit = least_unit(float(sample.labels.std()), predicted)
    return float(np.abs(given.reshape(-1) - predicted).max() / unit)


def least_unit(spread: float, predicted: npt.NDArray[np.float64]) -> float:
    """Return what a regression's differences are shares of: the labels' spread, and no less than roundings tell."""
    return max(spread, float(np.spacing(np.float32(np.abs(predicted).max()))) * ROUNDINGS) or 1.0


def require_alike(exported: onnx.ModelProto, pipeline: Pipeline, sample: Sample) -> float:
    """Return `difference`; raise ModelError if it is more than TOLERANCE."""
    found = difference(exported, pipeline, sample)
    if not found <= TOLERANCE:
        raise ModelError(
            f"the exported model's answers differ by {found:.2g} from the trained one's ({TOLERANCE:g} may)"
        )
    return found
