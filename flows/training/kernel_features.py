"""What is near which of the rows learned from: the features of a radial kernel, by the Nyström method.

Williams and Seeger 2001, "Using the Nyström method to speed up kernel machines". scikit-learn's Nystroem keeps the
directions in which the landmarks hardly differ, and blows them up; an exported model's float32 cannot follow. Here they
are left out.
"""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator, TransformerMixin

LEAST = 1e-4  # of the largest eigenvalue: directions of less are left out

Matrix = npt.NDArray[np.float64]


class KernelFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Features of exp(-|x - y|² / columns), so that all columns together count as one; `landmarks` rows at most."""

    def __init__(self, landmarks: int = 300, seed: int = 0) -> None:
        self.landmarks, self.seed = landmarks, seed

    def fit(self, values: npt.NDArray[Any], _labels: object = None) -> Self:
        """Draw landmarks, and learn which directions they differ in."""
        rng, number = np.random.default_rng(self.seed), min(self.landmarks, len(values))
        drawn = np.unique(values[rng.choice(len(values), number, replace=False)].astype(np.float64), axis=0)
        self.gamma_, self.landmarks_ = 1 / max(values.shape[1], 1), drawn
        sizes, directions = np.linalg.eigh(self._nearness(drawn))
        kept = sizes > LEAST * sizes.max()
        self.directions_ = directions[:, kept] / np.sqrt(sizes[kept])
        return self

    def transform(self, values: npt.NDArray[Any]) -> Matrix:
        """Return the features (n, directions)."""
        return np.asarray(self._nearness(values.astype(np.float64)) @ self.directions_)

    def _nearness(self, values: Matrix) -> Matrix:
        products = 2 * values @ self.landmarks_.T - (self.landmarks_**2).sum(axis=1)
        return np.asarray(np.exp(self.gamma_ * (products - (values**2).sum(axis=1, keepdims=True))))


def calculate_shape(operator: Any) -> None:
    """Tell skl2onnx what comes out: float32 (n, directions)."""
    operator.outputs[0].type = FloatTensorType([None, operator.raw_operator.directions_.shape[1]])


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Write the nearness to each landmark, its square multiplied out, and the directions."""
    kernel = operator.raw_operator
    gamma, landmarks = kernel.gamma_, kernel.landmarks_

    def constant(values: Any) -> str:
        name: str = scope.get_unique_variable_name("constant")
        array = np.asarray(values, np.float32)
        container.add_initializer(name, TensorProto.FLOAT, list(array.shape), array.ravel().tolist())
        return name

    def write(kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        output = output or scope.get_unique_variable_name(kind.lower())
        container.add_node(kind, inputs, output, name=scope.get_unique_operator_name(kind), op_version=13, **attributes)
        return output

    source = operator.inputs[0].full_name
    weights = [constant(2 * gamma * landmarks.T), constant(-gamma * (landmarks**2).sum(axis=1))]
    squares = write("Mul", [write("Mul", [source, source]), constant([gamma])])
    total = write("ReduceSum", [squares, _axis(scope, container)], keepdims=1)
    nearness = write("Exp", [write("Sub", [write("Gemm", [source, *weights]), total])])
    write("MatMul", [nearness, constant(kernel.directions_)], operator.outputs[0].full_name)


def _axis(scope: Any, container: Any) -> str:
    name: str = scope.get_unique_variable_name("axis")
    container.add_initializer(name, TensorProto.INT64, [1], [1])
    return name
