"""Models as people of the field bring them: other converters' names, types and outputs."""

import json
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from monitoring.contract.config import Config
from monitoring.contract.onnx.inputs import Rows
from tests.unit.flows_fixtures import draw_wine
from tests.unit.models import WINE

FEATURES: list[str] = WINE["model"]["features"]
WEIGHTS = np.array([[-2.0, 2.0], [0.5, -0.5], [0.1, -0.1], [0.0, 0.25]])


def wine_of(*categories: str) -> Config:
    """Return the wine model's config with other categories, in the order of red and white."""
    return Config.model_validate({**WINE, "model": {**WINE["model"], "categories": categories}})


def rows_of(count: int = 50, seed: int = 3) -> NDArray[np.float32]:
    table = draw_wine(count, seed=seed)
    return np.column_stack([table[name].to_numpy() for name in FEATURES]).astype(np.float32)


def train(labels: tuple[Any, Any], *, forest: bool = False) -> Pipeline:
    """Train on wine, with labels for red and white."""
    table = draw_wine(300, seed=1)
    truth = np.array([labels[name == "white"] for name in table["truth"].to_pylist()])
    kind = RandomForestClassifier(5, random_state=0) if forest else LogisticRegression()
    return make_pipeline(StandardScaler(), kind).fit(rows_of(300, seed=1), truth)


def named(exported: onnx.ModelProto, **metadata: Any) -> bytes:
    """Serialise a model with JSON in its metadata; text goes in as it is."""
    properties = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    helper.set_model_props(exported, properties)
    return bytes(exported.SerializeToString())


def converted(
    pipeline: Any, *, zipmap: Any = False, name: str = "float_input", rows: int | None = None
) -> onnx.ModelProto:
    kind = [(name, FloatTensorType([rows, len(FEATURES)]))]
    return convert_sklearn(pipeline, initial_types=kind, options={id(pipeline): {"zipmap": zipmap}})


def regressor() -> onnx.ModelProto:
    pipeline = LinearRegression().fit(rows_of(20), np.arange(20.0))
    return convert_sklearn(pipeline, initial_types=[("X", FloatTensorType([None, len(FEATURES)]))])


def per_column() -> tuple[onnx.ModelProto, Pipeline]:
    """Convert as skl2onnx does what was trained on a data frame: one input (n, 1) per column."""
    frame = draw_wine(300, seed=1).to_pandas()
    steps = ColumnTransformer([("scaled", StandardScaler(), FEATURES)]), LogisticRegression()
    pipeline = make_pipeline(*steps).fit(frame[FEATURES], frame["truth"])
    kinds = [(name, FloatTensorType([None, 1])) for name in FEATURES]
    return convert_sklearn(pipeline, initial_types=kinds, options={id(pipeline): {"zipmap": False}}), pipeline


def expected(rows: Rows) -> NDArray[np.float64]:
    """Return what `linear` answers: the softmax of the rows times WEIGHTS."""
    scores = np.exp(rows.astype(np.float64) @ WEIGHTS)
    return scores / scores.sum(axis=1, keepdims=True)


class Graph:
    """A small graph by hand: the softmax of the features times WEIGHTS, with inputs and outputs to choose."""

    def __init__(self) -> None:
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.nodes: list[onnx.NodeProto] = []
        self.constants = {"weights": WEIGHTS.astype(np.float32), "ends": np.array([-1, 1], np.int64)}

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))

    def tensor(self, kind: int = TensorProto.FLOAT, *, name: str = "float_input", rows: Any = "N") -> "Graph":
        self.inputs.append(helper.make_tensor_value_info(name, kind, [rows, len(FEATURES)]))
        self.node("Cast", [name], "rows", to=TensorProto.FLOAT)
        return self

    def columns(self, kinds: dict[str, int], *, flat: bool = False) -> "Graph":
        for place, (name, kind) in enumerate(kinds.items()):
            self.inputs.append(helper.make_tensor_value_info(name, kind, ["N"] if flat else ["N", 1]))
            self.node("Cast", [name], f"cast_{place}", to=TensorProto.FLOAT)
            self.node("Reshape", [f"cast_{place}", "column"], f"column_{place}")
        self.constants["column"] = np.array([-1, 1], np.int64)
        self.node("Concat", [f"column_{place}" for place in range(len(kinds))], "rows", axis=1)
        return self

    def probabilities(self, name: str = "probabilities") -> "Graph":
        self.node("MatMul", ["rows", "weights"], "scores")
        self.node("Softmax", ["scores"], name, axis=1)
        return self

    def out(self, name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> "Graph":
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))
        return self

    def model(self) -> onnx.ModelProto:
        constants = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph = helper.make_graph(self.nodes, "g", self.inputs, self.outputs, constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
