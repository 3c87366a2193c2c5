"""LightGBM's trees in ONNX, with float64 thresholds and the sets of categories that they split by.

A set is a chain of nodes that ask for one category each, of which all lead to the same node where it is that one; ONNX
Runtime makes a set of it again. The trees are those of `Booster.dump_model`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper
from skl2onnx.common.data_types import DoubleTensorType

from flows.training.boosted_trees import add_names, calculate_shape

__all__ = ["calculate_shape", "convert"]

_LEAF, _LEQ, _EQ = "LEAF", "BRANCH_LEQ", "BRANCH_EQ"
_PLAIN = ("regression", "regression_l1", "huber", "fair", "quantile", "mape")
_EXPONENTIAL = ("poisson", "gamma", "tweedie")


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Write the trees as one TreeEnsembleRegressor, and what the objective makes of their sum."""
    model = operator.raw_operator
    dumped = model.booster_.dump_model()
    if "objective" not in dumped:
        raise NotImplementedError("LightGBM's custom objectives: the file does not tell what becomes of the trees' sum")

    def write(kind: str, inputs: list[str], output: str | None = None, version: int = 13, **attributes: Any) -> str:
        output = output or scope.get_unique_variable_name(kind.lower())
        name = scope.get_unique_operator_name(kind)
        container.add_node(kind, inputs, output, name=name, op_version=version, **attributes)
        return output

    def constant(value: Any) -> str:
        name: str = scope.get_unique_variable_name("constant")
        container.add_initializer(name, TensorProto.FLOAT, [], [float(value)])
        return name

    source = operator.inputs[0].full_name
    if not isinstance(operator.inputs[0].type, DoubleTensorType):
        source = write("Cast", [source], to=TensorProto.DOUBLE)
    ensemble = {"op_domain": "ai.onnx.ml", "version": 3, **_ensemble(dumped)}
    raw = write("TreeEnsembleRegressor", [source], **ensemble)
    outputs = [output.full_name for output in operator.outputs]
    if getattr(model, "classes_", None) is None:
        write(_link(dumped["objective"]), [raw], outputs[0])
        return
    _write_classes(write, constant, raw, dumped["objective"], outputs)
    names = add_names(model.classes_, scope, container)
    write("Gather", [names, write("ArgMax", [outputs[1]], axis=1, keepdims=0)], outputs[0])


def _link(objective: str) -> str:
    """Return the operator that makes an answer of a regression's sum."""
    name = objective.split(" ", maxsplit=1)[0]
    if name in _PLAIN and "sqrt" not in objective:
        return "Identity"
    if name in _EXPONENTIAL:
        return "Exp"
    raise NotImplementedError(f"LightGBM's objective {objective}")


def _write_classes(
    write: Callable[..., str], constant: Callable[[Any], str], raw: str, objective: str, outputs: list[str]
) -> None:
    """Write the probabilities that the objective makes of the sums."""
    name = objective.split(" ", maxsplit=1)[0]
    if name == "multiclass":
        write("Softmax", [raw], outputs[1], axis=1)
        return
    if name != "binary":
        raise NotImplementedError(f"LightGBM's objective {objective}")
    slope = re.search(r"sigmoid:([0-9.e+-]+)", objective)
    positive = write("Sigmoid", [write("Mul", [raw, constant(slope.group(1) if slope else 1)])])
    write("Concat", [write("Sub", [constant(1), positive]), positive], outputs[1], axis=1)


class _Nodes:
    """The nodes of all trees, as the attributes of a TreeEnsembleRegressor list them."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int, str, float, int, int, int]] = []
        self.leaves: list[tuple[int, int, int, float]] = []
        self._tree, self._target, self._next = -1, 0, 0

    def add_tree(self, structure: Mapping[str, Any], target: int) -> None:
        """Add a tree whose leaves add to a target."""
        self._tree, self._target, self._next = self._tree + 1, target, 0
        self._add(structure)

    def _number(self) -> int:
        self._next += 1
        return self._next - 1

    def _put(self, number: int, feature: int, mode: str, value: float, ends: tuple[int, int, int]) -> None:
        self.rows.append((self._tree, number, feature, mode, value, *ends))

    def _add(self, node: Mapping[str, Any]) -> int:
        """Add a node and what is below it; return its number in the tree."""
        number = self._number()
        if "leaf_value" in node:
            if "leaf_coeff" in node:
                raise NotImplementedError("LightGBM's linear trees")
            self._put(number, 0, _LEAF, 0.0, (0, 0, 0))
            self.leaves.append((self._tree, number, self._target, node["leaf_value"]))
            return number
        if node["missing_type"] == "Zero":
            raise NotImplementedError("LightGBM's zero_as_missing")
        feature = node["split_feature"]
        if node["decision_type"] == "==":
            chain = [float(one) for one in str(node["threshold"]).split("||")]
            numbers = [number, *(self._number() for _ in chain[1:])]
            left, right = self._add(node["left_child"]), self._add(node["right_child"])
            for at, one, otherwise in zip(numbers, chain, [*numbers[1:], right], strict=True):
                self._put(at, feature, _EQ, one, (left, otherwise, 0))
            return number
        if node["decision_type"] != "<=":
            raise NotImplementedError(f"LightGBM's decision {node['decision_type']}")
        threshold = float(node["threshold"])
        tracks = node["default_left"] if node["missing_type"] == "NaN" else threshold >= 0  # else NaN counts as 0
        left, right = self._add(node["left_child"]), self._add(node["right_child"])
        self._put(number, feature, _LEQ, threshold, (left, right, int(tracks)))
        return number


def _ensemble(dumped: Mapping[str, Any]) -> dict[str, Any]:
    nodes, targets = _Nodes(), dumped["num_tree_per_iteration"]
    for at, tree in enumerate(dumped["tree_info"]):
        nodes.add_tree(tree["tree_structure"], at % targets)
    trees, numbers, features, modes, values, left, right, tracks = zip(*sorted(nodes.rows), strict=True)
    of_trees, of_numbers, ids, weights = zip(*nodes.leaves, strict=True)
    share = targets / len(dumped["tree_info"]) if dumped["average_output"] else 1.0
    return {
        "n_targets": targets,
        "post_transform": "NONE",
        "nodes_treeids": trees,
        "nodes_nodeids": numbers,
        "nodes_featureids": features,
        "nodes_modes": modes,
        "nodes_values_as_tensor": numpy_helper.from_array(np.array(values, np.float64), "values"),
        "nodes_truenodeids": left,
        "nodes_falsenodeids": right,
        "nodes_missing_value_tracks_true": tracks,
        "target_treeids": of_trees,
        "target_nodeids": of_numbers,
        "target_ids": ids,
        "target_weights_as_tensor": numpy_helper.from_array(np.array(weights, np.float64) * share, "weights"),
    }
