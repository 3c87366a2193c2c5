"""Where trees of scikit-learn's send a missing number, which skl2onnx leaves out of what it writes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx

_TRACKS, _FEATURES = "nodes_missing_value_tracks_true", "nodes_featureids"


def send_missing(graph: onnx.GraphProto, last: Any) -> None:
    """Have a graph's trees send missing numbers as those of its last step do, where they are known to be the same."""
    trees = list(_nodes(last))
    ensembles = [node for node in graph.node if node.op_type.startswith("TreeEnsemble")]
    written = [{one.name: one.ints for one in node.attribute} for node in ensembles]
    if not trees or any(_TRACKS not in one for one in written):
        return
    nodes = np.concatenate(trees)  # in the order that they are written in
    if [place for one in written for place in one[_FEATURES]] != np.maximum(nodes["feature"], 0).tolist():
        return
    left = iter(nodes["missing_go_to_left"].astype(int).tolist())
    for one in written:
        one[_TRACKS][:] = [next(left) for _ in one[_TRACKS]]


def _nodes(fitted: Any) -> Iterator[Any]:
    """Yield the nodes of each tree that an estimator consists of."""
    if hasattr(fitted, "tree_"):
        yield fitted.tree_.__getstate__()["nodes"]
        return
    for one in getattr(fitted, "estimators_", ()):
        yield from _nodes(one)
