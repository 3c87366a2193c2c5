"""What a model's outputs are to its task: which of them hold its answers, and what they say of a row.

One class says it for each task: `monitoring.contract.onnx.classification` and `monitoring.contract.onnx.regression`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from monitoring.contract.onnx.inputs import Mask
from monitoring.contract.onnx.names import listed
from monitoring.contract.onnx.onnx_runtime import InferenceSession

Given = NDArray[np.float64]  # what a model gives for rows (n, width)
Predicted = NDArray[Any]  # answers (n,): texts of a classification, float64 of a regression

FLOATING = ("tensor(float)", "tensor(double)", "tensor(float16)")  # types of outputs


@dataclass(frozen=True)
class OnnxFile:
    """What ONNX Runtime tells of a file, and the distinct lists of class labels in its graph."""

    session: InferenceSession
    metadata: Mapping[str, str]
    inputs: Sequence[Any]
    outputs: Sequence[Any]
    labels: list[tuple[str, ...]]


@dataclass(frozen=True)
class Trials:
    """What all outputs gave by their names for one row, two and so on, the first of zeros; and their levels.

    `levels` are the features of which the rows have levels that the model need not know.
    """

    answers: Sequence[Mapping[str, Any]]
    levels: tuple[str, ...] = ()

    @property
    def hint(self) -> str:
        """Return what may be the reason for a row without an answer."""
        if not self.levels:
            return ""
        return (
            f"; the levels that are tried of {listed(self.levels)} are new to it, and what is new must have an answer, "
            "as with OneHotEncoder(handle_unknown='ignore')"
        )


class Output(Protocol):
    """Outputs of a session, and how they are read."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return what a run is asked for."""

    def read(self, raw: Sequence[Any]) -> Given:
        """Return what a run gave for those names."""


class Answers(Protocol):
    """How a model's outputs are its answers."""

    @property
    def output(self) -> Output:
        """Return the outputs that hold them."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the classes in the order of the probabilities; none of a regression."""

    @property
    def width(self) -> int:
        """Return how many numbers a row is given."""

    @property
    def about(self) -> Mapping[str, str]:
        """Return what outputs hold the answers, and what these are."""

    def usable(self, given: Given) -> Given:
        """Return what was given, with NaN for rows to which it is no answer."""

    def far_fault(self, given: Given) -> str | None:
        """Return why what a row far out was given shows that the model is none of this task."""

    def decide(self, usable: Given) -> tuple[Predicted, Given]:
        """Return the answers (n,) and the probabilities (n, classes)."""

    def present(self, predicted: Predicted) -> Mask:
        """Return for each answer (n,) whether it is one."""


def answered(given: Given) -> Mask:
    """Return for each row (n,) whether there is an answer."""
    return np.asarray(np.isfinite(given).all(axis=1))


def shown(given: Given) -> str:
    """Return the first numbers of the first row as text."""
    return ", ".join(f"{value:.4g}" for value in given[0][:5])
