"""Values far outside the rest are taken for the nearest that are not, so that no few rows decide what a model learns.

The drift alarm scales rows that lie far out down to a distance (`monitoring.alarms.drift.scores`), and so no row of
1e6 moves it. Standardising knows no such bound: five of those rows among 4,000 make all others look alike. What is far
is told by the rows to learn from, not by the reference: after a change its range is no longer theirs. The bounds are a
step of the pipeline, and so of the exported model: it is asked as it was taught.

Where one value fills more than half of the rows, as 0 in a count or the median in the place of what is missing, the
others tell what is usual. Bounds are wide, for heavy tails are honest: of lognormal values 99.9 % stay as they are.
"""

from statistics import NormalDist
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator, TransformerMixin

FEW = 0.03  # of all rows: as many may be far, on either side, without telling what is usual
FAR = 8.0  # standard deviations from the median of a normal column that reaches as far as this one


class FarValues(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Bounds each column (n, features) without missing values; `low_` and `high_` (features,) are float32."""

    def fit(self, values: npt.NDArray[Any], _labels: object = None) -> Self:
        """Learn each column's bounds."""
        self.n_features_in_ = values.shape[1]
        bounds = np.array([_bounds(column) for column in values.T.astype(np.float64)], np.float64).reshape(-1, 2)
        widest = np.finfo(np.float32).max
        self.low_, self.high_ = np.clip(bounds.T, -widest, widest).astype(np.float32)
        return self

    def transform(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the values within the bounds."""
        bounded: npt.NDArray[Any] = np.clip(values, self.low_, self.high_)
        return bounded


def _bounds(column: npt.NDArray[np.float64]) -> tuple[float, float]:
    common = np.median(column)  # also the value that fills more than half of the rows, where one does
    rest = column[column != common]
    if 2 * len(rest) >= len(column):
        rest = column
    if len(rest):
        share = min(FEW * len(column) / len(rest), 0.25)
        first, middle, last = np.quantile(rest, (share, 0.5, 1 - share))
        room = FAR * max(middle - first, last - middle) / NormalDist().inv_cdf(1 - share)
        if room > 0:
            return min(common, middle - room), max(common, middle + room)
    return _bounds_of_few_values(column)


def _bounds_of_few_values(column: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the bounds of a column that holds hardly more than one or two values: their range, beyond either end."""
    for share in (FEW, 0.01, 0.0):
        low, high = np.quantile(column, share, method="lower"), np.quantile(column, 1 - share, method="higher")
        if low < high:
            break
    return 2 * low - high, 2 * high - low


def calculate_shape(operator: Any) -> None:
    """Tell skl2onnx what comes out: float32 (n, features)."""
    operator.outputs[0].type = FloatTensorType([None, operator.raw_operator.n_features_in_])


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Write the bounds as a maximum and a minimum: ONNX's Clip takes one number for all columns."""
    bounded = scope.get_unique_variable_name("bounded")
    steps = (
        ("Max", operator.inputs[0].full_name, operator.raw_operator.low_, bounded),
        ("Min", bounded, operator.raw_operator.high_, operator.outputs[0].full_name),
    )
    for kind, source, bounds, output in steps:
        name = scope.get_unique_variable_name("bounds")
        container.add_initializer(name, TensorProto.FLOAT, [1, len(bounds)], bounds.tolist())
        container.add_node(kind, [source, name], output, name=scope.get_unique_operator_name(kind), op_version=13)
