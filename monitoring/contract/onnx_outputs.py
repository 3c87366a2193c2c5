"""Which output of an ONNX model holds the probabilities, and how they are read: by type and shape, not by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.contract.onnx_inputs import describe

Probabilities = NDArray[np.float64]

_TABLES = ("tensor(float)", "tensor(double)", "tensor(float16)")
_MAPS = ("seq(map(string,tensor(float)))", "seq(map(int64,tensor(float)))")
_TOLERANCE = 1e-3  # of a row's sum: float16, and shares that were rounded
_ROWS_AND_COLUMNS = _BINARY = 2


@dataclass(frozen=True)
class Table:
    """An output that is a tensor (n, classes)."""

    name: str

    def read(self, raw: Any) -> Probabilities:
        """Return the tensor."""
        return np.asarray(raw, np.float64)


@dataclass(frozen=True)
class PositiveColumn:
    """An output that is a tensor (n, 1) or (n,): a binary model's probability of its second class."""

    name: str

    def read(self, raw: Any) -> Probabilities:
        """Return both classes' probabilities (n, 2)."""
        positive = np.asarray(raw, np.float64).reshape(-1)
        return np.column_stack([1 - positive, positive])


@dataclass(frozen=True)
class Maps:
    """An output that is a map from class to probability per row, as skl2onnx makes unless told otherwise (`zipmap`)."""

    name: str
    keys: tuple[str | int, ...]

    def read(self, raw: Any) -> Probabilities:
        """Return the maps' values (n, classes) in the order of the keys."""
        return np.array([[row.get(key, np.nan) for key in self.keys] for row in raw], np.float64)


Output = Table | PositiveColumn | Maps


def map_keys(nodes: Sequence[Any], answers: Mapping[str, Any]) -> tuple[str | int, ...]:
    """Return the keys of the first output of maps; none if no output is."""
    maps = [answers[node.name] for node in nodes if node.type in _MAPS and answers[node.name]]
    return tuple(sorted(maps[0][0])) if maps else ()


def find_output(
    nodes: Sequence[Any], answers: Mapping[str, Any], classes: tuple[str, ...], rows: int, faults: list[str]
) -> Output | None:
    """Find the output that holds the classes' probabilities; None, and why among the faults, if none does.

    `answers` are what the outputs gave for so many rows, the first of which are zeros.
    """
    candidates = [output for node in nodes for output in _candidates(node, answers[node.name], classes)]
    candidates.sort(key=lambda output: isinstance(output, PositiveColumn))  # where nothing has a column for each class
    judged = [(*_judge(output.read(answers[output.name]), rows, len(classes)), output) for output in candidates]
    if not judged:
        faults.append(
            "it has no output of probabilities, which is a float tensor (rows, classes) or a map per row; its outputs "
            f"are {describe(nodes)}"
        )
        return None
    wrong, why, output = min(judged, key=lambda found: found[0])
    if wrong:
        faults.append(f"its output {output.name} {why}")
        return None
    return output


def _candidates(node: Any, answer: Any, classes: tuple[str, ...]) -> list[Output]:
    if node.type in _MAPS:
        return [Maps(node.name, _ordered(tuple(sorted(answer[0])), classes))] if answer else []
    if node.type not in _TABLES:
        return []
    one_column = np.ndim(answer) == 1 or (np.ndim(answer) == _ROWS_AND_COLUMNS and np.shape(answer)[1] == 1)
    return [PositiveColumn(node.name) if one_column and len(classes) == _BINARY else Table(node.name)]


def _ordered(keys: tuple[str | int, ...], classes: tuple[str, ...]) -> tuple[str | int, ...]:
    """Return the maps' keys in the order of the classes; where classes have other names, in that of the model."""
    by_text = {str(key): key for key in keys}
    return tuple(by_text[name] for name in classes) if set(by_text) == set(classes) else keys


def _judge(found: Probabilities, rows: int, classes: int) -> tuple[int, str]:
    """Return 0 for probabilities of rows and classes, else how far they are from being any, and in what respect."""
    if found.ndim != _ROWS_AND_COLUMNS or found.shape != (rows, classes):
        shape = " x ".join(map(str, found.shape)) or "a single one"
        return 3, f"gives {shape} numbers for {rows} row(s), not one for each of its {classes} classes"
    if not np.isfinite(found[0]).all():
        return 2, "gives no finite probabilities for a row of zeros"
    finite = found[np.isfinite(found).all(axis=1)]
    if (np.abs(finite.sum(axis=1) - 1) > _TOLERANCE).any() or (finite < -_TOLERANCE).any():
        shown = ", ".join(f"{value:.4g}" for value in finite[0][:5])
        return 1, f"gives numbers that are no probabilities, which add up to 1 in each row: zeros give {shown}"
    return 0, ""
