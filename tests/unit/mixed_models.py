"""Models of the trips in `tests.unit.mixed`, converted from scikit-learn pipelines that were fitted on a frame."""

from typing import Any

import numpy as np
import onnx
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from monitoring.contract.config import Model
from tests.unit.mixed import trip_rows

NUMERIC, CATEGORICAL = ["distance", "passengers"], ["zone", "airport"]
TENSORS = {"f": FloatTensorType, "i": Int64TensorType}


def frame(count: int, seed: int = 0, **columns: Any) -> pd.DataFrame:
    """Draw trips with all levels as the text that the log has."""
    drawn = pa.table(trip_rows(count, seed)).to_pandas()
    drawn["airport"] = drawn["airport"].map({True: "true", False: "false"}).astype(object)
    drawn["airport"] = drawn["airport"].where(drawn["airport"].notna(), "")
    return drawn.astype({"zone": object}).assign(**columns)


def rows(trips: pd.DataFrame, features: tuple[str, ...]) -> NDArray[np.object_]:
    """Return a frame's features as a model's rows: floats, and texts or None."""
    found = trips[list(features)].astype(object).to_numpy()
    found[found == ""] = None
    return found


def fitted(estimator: Any, target: str, trips: pd.DataFrame | None = None, **encoder: Any) -> Pipeline:
    """Fit a pipeline on a frame; `encoder` are settings of its OneHotEncoder."""
    trips = frame(400, seed=1) if trips is None else trips
    encoded = OneHotEncoder(**{"handle_unknown": "ignore", **encoder})
    steps = ColumnTransformer([("numbers", StandardScaler(), NUMERIC), ("levels", encoded, CATEGORICAL)])
    return make_pipeline(steps, estimator).fit(trips[NUMERIC + CATEGORICAL], trips[target])


def converted(pipeline: Pipeline, trips: pd.DataFrame | None = None, **options: Any) -> onnx.ModelProto:
    """Convert a pipeline with an input for each column, of its type."""
    trips = frame(1) if trips is None else trips
    inputs = [(c, TENSORS.get(trips[c].dtype.kind, StringTensorType)([None, 1])) for c in NUMERIC + CATEGORICAL]
    given = {id(pipeline): options} if options else None
    return convert_sklearn(pipeline, initial_types=inputs, options=given, target_opset=17)


def regressor(**encoder: Any) -> Pipeline:
    return fitted(LinearRegression(), "minutes", **encoder)


def classifier(**encoder: Any) -> Pipeline:
    return fitted(LogisticRegression(max_iter=1000), "tip", **encoder)


def champion(model: Model) -> bytes:
    """Return a model of `trips` or of `tips`."""
    if model.task == "regression":
        return bytes(converted(regressor()).SerializeToString())
    return bytes(converted(classifier(), zipmap=False).SerializeToString())


def two_matrices(levels: str = "station") -> onnx.ModelProto:
    """Return a graph of a matrix of numbers and one of texts: distance + 2 passengers + 5 where the zone is a level."""
    inputs = [
        helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["N", 2]),
        helper.make_tensor_value_info("texts", TensorProto.STRING, ["N", 2]),
    ]
    constants = {"weights": np.array([[1.0], [2.0]], np.float32), "more": np.array([[5.0], [0.0]], np.float32)}
    nodes = [
        helper.make_node("MatMul", ["numbers", "weights"], ["sum"]),
        helper.make_node(
            "LabelEncoder", ["texts"], ["codes"], domain="ai.onnx.ml",
            keys_strings=[levels], values_floats=[1.0], default_float=0.0,
        ),
        helper.make_node("MatMul", ["codes", "more"], ["extra"]),
        helper.make_node("Add", ["sum", "extra"], ["minutes"]),
    ]  # fmt: skip
    outputs = [helper.make_tensor_value_info("minutes", TensorProto.FLOAT, ["N", 1])]
    values = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, values)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)
