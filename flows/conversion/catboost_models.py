"""CatBoost's models: their files, and the ONNX that CatBoost writes of them, with an input for each feature."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from flows.conversion.boosters import require
from flows.conversion.errors import BroughtModelError


def read_catboost(path: Path) -> Any:
    """Read a file of CatBoost (cbm)."""
    catboost = require("catboost")
    path.read_bytes()  # what the system says is said as of other files
    model = catboost.CatBoost()
    try:
        model.load_model(str(path))
    except catboost.CatBoostError as error:
        told = str(error).splitlines()[0]
        raise BroughtModelError(f"{path}: is no readable CatBoost model: {told}") from error
    loss = str(model.get_all_params().get("loss_function", ""))
    classes = re.match("Logloss|CrossEntropy|MultiClass", loss)
    found = catboost.CatBoostClassifier() if classes else catboost.CatBoostRegressor()
    found.load_model(str(path))
    return found


def convert_catboost(model: Any, names: Sequence[str]) -> onnx.ModelProto:
    """Let CatBoost write its ONNX, and give it an input (n, 1) for each feature in the place of its tensor of all."""
    if model.get_cat_feature_indices() or model.get_text_feature_indices():
        raise BroughtModelError(
            "CatBoost writes no ONNX of a model with categorical features (cat_features): encode the levels before it, "
            "in a scikit-learn Pipeline with another library's trees, or as numbers"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        model.save_model(str(path), format="onnx")
        exported = onnx.load(path)
    (tensor,) = exported.graph.input
    columns = [f"feature_{at}" for at in range(len(names))]
    joined = onnx.helper.make_node("Concat", columns, [tensor.name], name="features_joined", axis=1)
    exported.graph.node.insert(0, joined)
    del exported.graph.input[:]
    kind = onnx.TensorProto.FLOAT
    exported.graph.input.extend(onnx.helper.make_tensor_value_info(name, kind, [None, 1]) for name in columns)
    if not any(one.domain == "" for one in exported.opset_import):
        exported.opset_import.append(onnx.helper.make_opsetid("", 13))
    return exported
