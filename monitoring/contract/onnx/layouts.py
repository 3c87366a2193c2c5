"""How a model's inputs take the features: all in one tensor, numbers and texts in one each, or each in its own."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monitoring.contract.config import Model
from monitoring.contract.onnx.inputs import Input, Inputs
from monitoring.contract.onnx.tensors import FLOATS, KINDS, TEXT, TensorKind

_ROWS_AND_COLUMNS = _BOTH = 2
Names = tuple[str, ...]


def describe(nodes: Sequence[Any]) -> str:
    """Return a session's inputs or outputs as a sentence: names, types and shapes."""
    return ", ".join(f"{n.name} {n.type} [{', '.join(map(_dimension, n.shape or []))}]" for n in nodes) or "none"


def _dimension(size: Any) -> str:
    return str(size) if isinstance(size, int) else "?"


def in_order(named: Names, nodes: Sequence[Any], model: Model) -> Names:
    """Return the features that the metadata names, in the config's order where theirs means nothing to the inputs.

    With an input per feature no order does, and with one of numbers and one of texts that within each of both.
    """
    layout = _layout(nodes, named)
    if layout is _Reading.columns and set(named) == set(model.features):
        return model.features
    if layout is _Reading.matrices and _by_kind(named, model) == _by_kind(model.features, model):
        return model.features
    return named


def read_inputs(nodes: Sequence[Any], named: Names | None, model: Model, problems: list[str]) -> Inputs | None:
    """Find out how the inputs take the features; None, and the reasons among the problems, if they cannot.

    `named` are the features that the file's metadata names; without it they are the config's.
    """
    features = named or model.features
    kinds = tuple(KINDS[model.kind(feature).name] for feature in features)
    reading = _Reading(features, kinds, "its metadata names" if named else "the config has", [])
    layout = _layout(nodes, features)
    inputs = layout(reading, nodes)
    faults = reading.faults + [
        f"its input {node.name} takes exactly {node.shape[0]} row(s) at a time: convert it with a free number of rows"
        for node in nodes
        if node.shape and isinstance(node.shape[0], int)
    ]
    problems += faults
    origin = "named by its metadata" if named else _ORIGINS[layout]
    return None if faults else Inputs(features, kinds, origin, inputs)


@dataclass(frozen=True)
class _Reading:
    """The features that inputs are to take, in their order, whose they are, and what is wrong with the inputs."""

    features: Names
    kinds: tuple[TensorKind, ...]
    owner: str
    faults: list[str]

    def tensor(self, nodes: Sequence[Any]) -> tuple[Input, ...]:
        """Take all features in one tensor."""
        return (self._matrix(nodes[0], tuple(range(len(self.features)))),)

    def matrices(self, nodes: Sequence[Any]) -> tuple[Input, ...]:
        """Take numbers in one tensor and levels in another, of texts, each in the order of the features."""
        number, level = (
            tuple(place for place, kind in enumerate(self.kinds) if kind.numbers_already is numbers)
            for numbers in (True, False)
        )
        return tuple(
            self._matrix(node, level, "categorical ") if node.type == TEXT else self._matrix(node, number, "numeric ")
            for node in nodes
        )

    def columns(self, nodes: Sequence[Any]) -> tuple[Input, ...]:
        """Take each feature in an input of its name."""
        places = _match([node.name for node in nodes], self.features)
        if places is not None:
            return tuple(self._column(node, places[node.name]) for node in nodes)
        self.faults.append(
            "it must take one tensor of shape (rows, features), or one input per feature, named as the feature; its "
            f"inputs are {describe(nodes)}"
        )
        return ()

    def _matrix(self, node: Any, places: tuple[int, ...], which: str = "") -> Input:
        kinds = tuple(self.kinds[place] for place in places)
        taken = [name for name in (*FLOATS, TEXT) if all(name in kind.together for kind in kinds)]
        if node.type not in taken:
            self.faults.append(
                f"its input {node.name} is a {node.type}; one input of all {which}features takes {' or '.join(taken)}"
            )
        width = node.shape[1] if node.shape else None
        if isinstance(width, int) and width != len(places):
            values = "texts" if node.type == TEXT else "numbers"
            self.faults.append(
                f"its input {node.name} takes {width} {values} a row, and {self.owner} {len(places)} {which}features"
            )
        return Input(node.name, node.type, places, kinds)

    def _column(self, node: Any, place: int) -> Input:
        kind, shape = self.kinds[place], node.shape or [None, 1]
        if node.type not in kind.alone:
            self.faults.append(
                f"its input {node.name} is a {node.type}; an input of one feature takes {', '.join(kind.alone)}"
            )
        wide = len(shape) == _ROWS_AND_COLUMNS and isinstance(shape[1], int) and shape[1] != 1
        if wide or len(shape) > _ROWS_AND_COLUMNS:
            self.faults.append(
                f"its input {node.name} is {describe([node])}; "
                "an input of one feature has the shape (rows, 1) or (rows)"
            )
        return Input(node.name, node.type, (place,), (kind,), flat=len(shape) == 1)


Layout = Callable[[_Reading, Sequence[Any]], tuple[Input, ...]]

_NOT_NAMED = "not named in the file: taken to be the config's, in its order"
_ORIGINS: dict[Layout, str] = {
    _Reading.tensor: _NOT_NAMED,
    _Reading.matrices: _NOT_NAMED,
    _Reading.columns: "the names of its inputs",
}


def _layout(nodes: Sequence[Any], features: Names) -> Layout:
    wide = [node for node in nodes if len(node.shape or [None, None]) == _ROWS_AND_COLUMNS]
    if len(nodes) == len(wide) == 1:
        return _Reading.tensor
    of_both = len({node.type == TEXT for node in nodes}) == _BOTH
    if len(nodes) == len(wide) == _BOTH and of_both and _match([node.name for node in nodes], features) is None:
        return _Reading.matrices
    return _Reading.columns


def _by_kind(features: Names, model: Model) -> list[str]:
    return sorted(features, key=lambda feature: model.kind(feature).name)


def _match(inputs: Sequence[str], features: Sequence[str]) -> Mapping[str, int] | None:
    """Return each input's place among the features; None if they are not one input per feature.

    Names are compared as they are, then as converters write them, with `_` for what is neither a letter nor a digit.
    """
    for written in (str, _sanitised):
        places = {written(name): place for place, name in enumerate(features)}
        found = {name: places.get(written(name), -1) for name in inputs}
        if sorted(found.values()) == list(range(len(features))):
            return found
    return None


def _sanitised(name: str) -> str:
    return re.sub(r"[^0-9A-Za-z]", "_", name)
