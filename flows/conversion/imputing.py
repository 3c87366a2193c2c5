"""scikit-learn's SimpleImputer in ONNX: skl2onnx's operator takes no float64."""

from typing import Any

import numpy as np
from onnx import TensorProto, helper
from skl2onnx.common.data_types import StringTensorType, guess_numpy_type
from skl2onnx.operator_converters.common import concatenate_variables
from skl2onnx.operator_converters.imputer_op import convert_sklearn_imputer
from skl2onnx.shape_calculators.imputer import calculate_sklearn_imputer_output_shapes


def calculate_shape(operator: Any) -> None:
    """Tell skl2onnx what comes out: what goes in."""
    calculate_sklearn_imputer_output_shapes(operator)


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Write the statistics in the place of NaN; texts, and a number that stands for a missing one, are skl2onnx's."""
    imputer, kind = operator.raw_operator, operator.inputs[0].type
    if imputer.indicator_ is not None:
        raise NotImplementedError("SimpleImputer(add_indicator=True): the columns that it adds are not converted")
    ours = not isinstance(kind, StringTensorType) and np.isreal(imputer.missing_values)
    if not (ours and np.isnan(imputer.missing_values) and np.isfinite(imputer.statistics_).all()):
        convert_sklearn_imputer(scope, operator, container)
        return
    source = concatenate_variables(scope, operator.inputs, container)
    number = guess_numpy_type(kind)
    statistics = scope.get_unique_variable_name("statistics")
    element = helper.np_dtype_to_tensor_dtype(np.dtype(number)) if number is not None else TensorProto.FLOAT
    container.add_initializer(statistics, element, [1, len(imputer.statistics_)], imputer.statistics_.astype(number))
    missing = scope.get_unique_variable_name("missing")
    container.add_node("IsNaN", [source], missing, name=scope.get_unique_operator_name("IsNaN"))
    container.add_node(
        "Where",
        [missing, statistics, source],
        operator.outputs[0].full_name,
        name=scope.get_unique_operator_name("Where"),
    )
