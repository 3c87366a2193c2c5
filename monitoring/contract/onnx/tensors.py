"""How the features of each kind stand in an ONNX model's tensors: which types take them, and as what values.

One class says it for each kind; `KINDS` has them by the names of `monitoring.contract.kinds`.
"""

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from monitoring.contract.kinds import KindName

TEXT = "tensor(string)"
FLOATS: dict[str, np.dtype[Any]] = {"tensor(float)": np.dtype(np.float32), "tensor(double)": np.dtype(np.float64)}
TYPES: dict[str, np.dtype[Any]] = {
    **FLOATS,
    "tensor(int64)": np.dtype(np.int64),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(bool)": np.dtype(np.bool_),
    TEXT: np.dtype(np.object_),
}
# the whole numbers that a tensor of a type holds and that its floats, or ours, can tell apart
BOUNDS = {
    "float32": (-(2.0**24), 2.0**24),
    "float64": (-(2.0**53), 2.0**53),
    "int64": (-(2.0**53), 2.0**53),
    "int32": (-(2.0**31), 2.0**31 - 1),
    "bool": (0.0, 1.0),
}
_BOOLEANS = {"false": 0.0, "true": 1.0}
_NONE = np.array(None, np.object_)
_NO_NUMBER = math.inf  # which no tensor of whole numbers holds

Value = float | str | None


class TensorKind(Protocol):
    """What depends on a feature's kind where rows become tensors."""

    alone: tuple[str, ...]  # types of an input that takes one such feature
    together: tuple[str, ...]  # and of one that takes several features
    numbers_already: bool  # its values are, so that a tensor of floats takes them as they are

    def numbers(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the values (n,) for a tensor of numbers, NaN being a missing one."""

    def value(self, number: float) -> Value:
        """Return the value that a model is tried with in the place of a number, NaN being a missing one."""


class NumericTensor:
    """Numbers; a whole-number type holds those that are whole."""

    alone = tuple(name for name in TYPES if name != TEXT)
    together = tuple(FLOATS)
    numbers_already = True

    def numbers(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the numbers."""
        return values.astype(np.float64)

    def value(self, number: float) -> Value:
        """Return the number."""
        return number


class CategoricalTensor:
    """Levels: their text, a missing one being the empty text; or, where all are whole numbers or booleans, these."""

    alone = (TEXT, *NumericTensor.alone)
    together = (TEXT, *FLOATS)
    numbers_already = False

    def numbers(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the whole numbers that the levels are the texts of, true being 1; infinity for another text."""
        return np.array([_number(level) for level in values], np.float64)

    def value(self, number: float) -> Value:
        """Return the text of a whole number."""
        return None if math.isnan(number) else str(int(number))


def texts(levels: NDArray[Any]) -> NDArray[np.object_]:
    """Return levels as a tensor of text takes them."""
    return np.where(np.equal(levels, _NONE), "", levels)


def missing(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Return for each value of rows of any kind whether it is missing: NaN or None."""
    if rows.dtype != np.object_:
        return np.asarray(np.isnan(rows))
    return np.asarray(np.equal(rows, _NONE) | (rows != rows), np.bool_)  # noqa: PLR0124 - NaN alone differs from itself


def _number(level: str | None) -> float:
    if level is None:
        return math.nan
    if level in _BOOLEANS:
        return _BOOLEANS[level]
    try:
        number = int(level)
    except ValueError:
        return _NO_NUMBER
    return float(number) if str(number) == level else _NO_NUMBER  # 07 and 7 are two levels


KINDS: dict[KindName, TensorKind] = {"numeric": NumericTensor(), "categorical": CategoricalTensor()}
