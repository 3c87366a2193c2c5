"""scikit-learn's histogram-based boosted trees in ONNX.

skl2onnx has a converter of its own, which fails on them with the present protobuf, and with more than two classes.

Where numbers are float64, so are the thresholds: a scaled value may lie as near to one as rounding goes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, numpy_helper
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType


def calculate_shape(operator: Any) -> None:
    """Tell skl2onnx what comes out: numbers (n, 1), or labels (n,) and probabilities (n, classes)."""
    classes = getattr(operator.raw_operator, "classes_", None)
    if classes is None:
        operator.outputs[0].type = FloatTensorType([None, 1])
        return
    operator.outputs[0].type = StringTensorType([None])
    operator.outputs[1].type = FloatTensorType([None, len(classes)])


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Write the trees as one TreeEnsembleRegressor, and for classes the probabilities and labels that follow."""
    trees, source = operator.raw_operator, operator.inputs[0].full_name
    outputs = [output.full_name for output in operator.outputs]
    classes = getattr(trees, "classes_", None)

    def write(kind: str, inputs: list[str], output: str | None = None, version: int = 13, **attributes: Any) -> str:
        output = output or scope.get_unique_variable_name(kind.lower())
        name = scope.get_unique_operator_name(kind)
        container.add_node(kind, inputs, output, name=name, op_version=version, **attributes)
        return output

    if _nodes(trees)[1]["is_categorical"].any():
        raise NotImplementedError("trees that split by sets of categories: encode the levels, as OneHotEncoder does")
    ensemble = _ensemble(trees)
    if isinstance(operator.inputs[0].type, DoubleTensorType):
        ensemble = _as_double(ensemble, trees)
    attributes = {"op_domain": "ai.onnx.ml", "version": 3, **ensemble}
    if classes is None:
        write("TreeEnsembleRegressor", [source], outputs[0], **attributes)
        return
    raw = write("TreeEnsembleRegressor", [source], **attributes)
    if len(classes) == 2:  # noqa: PLR2004 - one number tells both: it is the second's, where the first's is 0
        raw = write("Concat", [write("Sub", [raw, raw]), raw], axis=1)
    write("Softmax", [raw], outputs[1], axis=1)
    names = add_names(classes, scope, container)
    write("Gather", [names, write("ArgMax", [outputs[1]], axis=1, keepdims=0)], outputs[0])


def add_names(classes: Sequence[Any], scope: Any, container: Any) -> str:
    """Add the texts of classes to a graph, and return what they are called there."""
    name: str = scope.get_unique_variable_name("classes")
    container.add_initializer(name, TensorProto.STRING, [len(classes)], [str(one).encode() for one in classes])
    return name


def _ensemble(trees: Any) -> dict[str, Any]:
    """Return the attributes of a TreeEnsembleRegressor: nodes in the order of the trees, and what the leaves add."""
    baseline = np.ravel(trees._baseline_prediction)  # noqa: SLF001 - no public attribute has it
    every, nodes, leaf = _nodes(trees)
    number = np.repeat(np.arange(len(every)), [len(tree) for _, tree in every])
    place = np.concatenate([np.arange(len(tree)) for _, tree in every])
    target = np.repeat([at for at, _ in every], [len(tree) for _, tree in every])
    return {
        "n_targets": len(baseline),
        "base_values": baseline.astype(float).tolist(),
        "post_transform": "NONE",
        "nodes_treeids": number.tolist(),
        "nodes_nodeids": place.tolist(),
        "nodes_featureids": np.where(leaf, 0, nodes["feature_idx"]).tolist(),
        "nodes_modes": ["LEAF" if is_leaf else "BRANCH_LEQ" for is_leaf in leaf],
        "nodes_values": list(_thresholds(np.where(leaf, 0.0, nodes["num_threshold"]))),
        "nodes_truenodeids": np.where(leaf, 0, nodes["left"]).astype(int).tolist(),
        "nodes_falsenodeids": np.where(leaf, 0, nodes["right"]).astype(int).tolist(),
        "nodes_missing_value_tracks_true": np.where(leaf, 0, nodes["missing_go_to_left"]).astype(int).tolist(),
        "target_treeids": number[leaf].tolist(),
        "target_nodeids": place[leaf].tolist(),
        "target_ids": target[leaf].tolist(),
        "target_weights": nodes["value"][leaf].astype(float).tolist(),
    }


def _nodes(trees: Any) -> tuple[list[tuple[int, Any]], Any, npt.NDArray[np.bool_]]:
    """Return each tree with the place of its class, the nodes of all in their order, and which of these are leaves."""
    every = [(at, tree.nodes) for step in trees._predictors for at, tree in enumerate(step)]  # noqa: SLF001 - the same
    nodes = np.concatenate([tree for _, tree in every])
    return every, nodes, nodes["is_leaf"].astype(bool)


def _as_double(ensemble: Mapping[str, Any], trees: Any) -> dict[str, Any]:
    """Return the attributes with float64 numbers, which are tensors then."""
    _, nodes, leaf = _nodes(trees)
    numbers = {
        "nodes_values": np.where(leaf, 0.0, nodes["num_threshold"]),
        "target_weights": nodes["value"][leaf],
        "base_values": np.asarray(ensemble["base_values"], np.float64),
    }
    tensors = {f"{key}_as_tensor": numpy_helper.from_array(values, key) for key, values in numbers.items()}
    return {key: value for key, value in ensemble.items() if key not in numbers} | tensors


def _thresholds(values: npt.NDArray[np.float64]) -> Iterator[float]:
    """Yield the largest float32 that is no larger: float32 values are below it as they are below the threshold."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    return map(float, np.where(rounded > values, np.nextafter(rounded, np.float32(-np.inf)), rounded))
