"""Which output of a classifier holds the probabilities, and how they are read: by type and shape, not by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.contract.onnx.answers import FLOATING, Output, shown
from monitoring.contract.onnx.inputs import Mask
from monitoring.contract.onnx.layouts import describe

Probabilities = NDArray[np.float64]

_MAPS = ("seq(map(string,tensor(float)))", "seq(map(int64,tensor(float)))")
_TOLERANCE = 1e-3  # of a row's sum: float16, and shares that were rounded
_BINARY = 2

ONE_NUMBER = "; one number a row is a regression's answer: the config says that with `task: regression`"


@dataclass(frozen=True)
class Table:
    """An output that is a tensor (n, classes)."""

    names: tuple[str]

    def read(self, raw: Sequence[Any]) -> Probabilities:
        """Return the tensor."""
        return np.asarray(raw[0], np.float64)


@dataclass(frozen=True)
class Maps:
    """An output that is a map from class to probability per row, as skl2onnx makes unless told otherwise (`zipmap`)."""

    names: tuple[str]
    keys: tuple[str | int, ...]

    def read(self, raw: Sequence[Any]) -> Probabilities:
        """Return the maps' values (n, classes) in the order of the keys."""
        return np.array([[row.get(key, np.nan) for key in self.keys] for row in raw[0]], np.float64)


@dataclass(frozen=True)
class Columns:
    """An output (n, 1) or (n,) per class, in the order of the classes: skl2onnx's `zipmap="columns"`."""

    names: tuple[str, ...]

    def read(self, raw: Sequence[Any]) -> Probabilities:
        """Return the outputs side by side (n, classes)."""
        return np.column_stack([np.asarray(column, np.float64).reshape(-1) for column in raw])


@dataclass(frozen=True)
class PositiveColumn:
    """An output that is a tensor (n, 1) or (n,): a binary model's probability of its second class."""

    names: tuple[str]

    def read(self, raw: Sequence[Any]) -> Probabilities:
        """Return both classes' probabilities (n, 2)."""
        positive = np.asarray(raw[0], np.float64).reshape(-1)
        return np.column_stack([1 - positive, positive])


def as_probabilities(given: Probabilities) -> Probabilities:
    """Return what a model gives (n, classes) as numbers from 0 to 1, with NaN for rows where it is no probabilities."""
    return np.where(outside(given)[:, np.newaxis], np.nan, np.clip(given, 0, 1))


def outside(given: Probabilities) -> Mask:
    """Return for each row (n,) whether a number in it lies outside 0 to 1, rounding aside."""
    return np.asarray(((given < -_TOLERANCE) | (given > 1 + _TOLERANCE)).any(axis=1) & np.isfinite(given).all(axis=1))


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
    judged = [
        (*_judge(output, [answers[name] for name in output.names], rows, len(classes)), output)
        for output in _candidates(nodes, answers, classes)
    ]
    if not judged:
        faults.append(
            "it has no output of probabilities, which is a float tensor (rows, classes) or a map per row; its outputs "
            f"are {describe(nodes)}"
        )
        return None
    wrong, why, output = min(judged, key=lambda found: found[0])
    if wrong:
        faults.append(f"its output {', '.join(output.names)} {why}")
        return None
    return output


def _candidates(nodes: Sequence[Any], answers: Mapping[str, Any], classes: tuple[str, ...]) -> list[Output]:
    """Return what may hold the probabilities; those come last that need the least to look like it."""
    tables = [node.name for node in nodes if node.type in FLOATING]
    columns = tuple(name for name in tables if np.ndim(answers[name]) == 1 or np.shape(answers[name])[1:] == (1,))
    maps = [node.name for node in nodes if node.type in _MAPS and answers[node.name]]
    return [
        *(Table((name,)) for name in tables if name not in columns or len(classes) != _BINARY),
        *(Maps((name,), _ordered(tuple(sorted(answers[name][0])), classes)) for name in maps),
        *([Columns(columns)] if len(columns) == len(classes) > 1 and _of_one_length(columns, answers) else []),
        *(PositiveColumn((name,)) for name in columns if len(classes) == _BINARY),
    ]


def _of_one_length(names: tuple[str, ...], answers: Mapping[str, Any]) -> bool:
    return len({np.size(answers[name]) for name in names}) == 1


def _ordered(keys: tuple[str | int, ...], classes: tuple[str, ...]) -> tuple[str | int, ...]:
    """Return the maps' keys in the order of the classes; where classes have other names, in that of the model."""
    by_text = {str(key): key for key in keys}
    return tuple(by_text[name] for name in classes) if set(by_text) == set(classes) else keys


def _judge(output: Output, raw: Sequence[Any], rows: int, classes: int) -> tuple[int, str]:
    """Return 0 for probabilities of rows and classes, else how far they are from being any, and in what respect."""
    found = output.read(raw)
    if found.shape != (rows, classes):
        shape = list(found.shape if isinstance(output, Maps) else np.shape(raw[0]))
        hint = ONE_NUMBER if np.shape(raw[0]) in ((rows,), (rows, 1)) and not isinstance(output, Maps) else ""
        return 3, f"has the shape {shape} for {rows} row(s), and {classes} classes need {[rows, classes]}{hint}"
    if not np.isfinite(found[0]).all():
        return 2, "gives no finite probabilities for a row of zeros"
    finite = found[np.isfinite(found).all(axis=1)]
    if (np.abs(finite.sum(axis=1) - 1) > _TOLERANCE).any() or (finite < -_TOLERANCE).any():
        hint = ONE_NUMBER if isinstance(output, PositiveColumn) else ""
        why = f"gives numbers that are no probabilities, which add up to 1 in each row: zeros give {shown(finite)}"
        return 1, f"{why}{hint}"
    return 0, ""
