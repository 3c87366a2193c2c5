"""How rows of features become the inputs of an ONNX model: one tensor of all features, or one input per feature."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32] | NDArray[np.float64]
Mask = NDArray[np.bool_]

_TENSOR: dict[str, np.dtype[Any]] = {"tensor(float)": np.dtype(np.float32), "tensor(double)": np.dtype(np.float64)}
_COLUMN: dict[str, np.dtype[Any]] = {
    **_TENSOR,
    "tensor(int64)": np.dtype(np.int64),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(bool)": np.dtype(np.bool_),
}
# the whole numbers that an input holds and that floats can tell apart
_BOUNDS = {"int64": (-(2.0**53), 2.0**53), "int32": (-(2.0**31), 2.0**31 - 1), "bool": (0.0, 1.0)}
_ROWS_AND_COLUMNS = 2


@dataclass(frozen=True)
class Input:
    """One input: the places of its features in a row, and whether it takes (n,) in the place of (n, 1)."""

    name: str
    dtype: np.dtype[Any]
    places: tuple[int, ...]
    flat: bool = False

    def holds(self, rows: Rows) -> Mask:
        """Return for each row (n,) whether an input of whole numbers can hold its values: missing is none of them."""
        low, high = _BOUNDS[self.dtype.name]
        values = rows[:, self.places].astype(np.float64)
        fits: Mask = ((values == np.rint(values)) & (values >= low) & (values <= high)).all(axis=1)
        return fits

    def nearest(self, rows: Rows) -> Rows:
        """Return the nearest values (n, places) that an input of whole numbers can hold."""
        return np.clip(np.rint(rows[:, self.places]), *_BOUNDS[self.dtype.name])

    def values(self, rows: Rows) -> NDArray[Any]:
        """Return the rows' values as the input takes them."""
        taken = rows if len(self.places) == rows.shape[1] else rows[:, self.places]
        with np.errstate(over="ignore"):  # beyond float32 is infinity, and what comes of it is looked at
            taken = np.ascontiguousarray(taken, self.dtype)
        return taken.ravel() if self.flat else taken


@dataclass(frozen=True)
class Inputs:
    """All inputs of a model, the features in the order of its rows, and how these are known."""

    features: tuple[str, ...]
    origin: str
    inputs: tuple[Input, ...]

    def holds(self, rows: Rows) -> Mask:
        """Return for each row (n,) whether the inputs can hold its values."""
        mask = np.ones(len(rows), np.bool_)
        for one in self.inputs:
            if one.dtype.name in _BOUNDS:
                mask &= one.holds(rows)
        return mask

    def nearest(self, rows: Rows) -> Rows:
        """Return the nearest rows that the inputs can hold."""
        near = rows.copy()
        for one in self.inputs:
            if one.dtype.name in _BOUNDS:
                near[:, one.places] = one.nearest(rows)
        return near

    def feed(self, rows: Rows) -> dict[str, NDArray[Any]]:
        """Return what a session takes."""
        return {one.name: one.values(rows) for one in self.inputs}


def describe(nodes: Sequence[Any]) -> str:
    """Return a session's inputs or outputs as a sentence: names, types and shapes."""
    return ", ".join(f"{n.name} {n.type} [{', '.join(map(_dimension, n.shape or []))}]" for n in nodes) or "none"


def _dimension(size: Any) -> str:
    return str(size) if isinstance(size, int) else "?"


def read_inputs(
    nodes: Sequence[Any], named: tuple[str, ...] | None, configured: tuple[str, ...], problems: list[str]
) -> Inputs | None:
    """Find out how the inputs take the features; None, and the reasons among the problems, if they cannot.

    `named` are the features that the file's metadata names, `configured` those of the config.
    """
    found: list[str] = []
    one_tensor = len(nodes) == 1 and len(nodes[0].shape or [None, None]) == _ROWS_AND_COLUMNS
    inputs = (_tensor if one_tensor else _columns)(nodes, named, configured, found)
    found += [
        f"its input {node.name} takes exactly {node.shape[0]} row(s) at a time: convert it with a free number of rows"
        for node in nodes
        if node.shape and isinstance(node.shape[0], int)
    ]
    problems += found
    return None if found else inputs


def _tensor(
    nodes: Sequence[Any], named: tuple[str, ...] | None, configured: tuple[str, ...], found: list[str]
) -> Inputs | None:
    (node,) = nodes
    width = node.shape[1] if node.shape else None
    features = named or configured
    if node.type not in _TENSOR:
        found.append(f"its input {node.name} is a {node.type}; one input of all features takes {' or '.join(_TENSOR)}")
    if isinstance(width, int) and width != len(features):
        owner = "its metadata names" if named else "the config has"
        found.append(f"its input {node.name} takes {width} numbers a row, and {owner} {len(features)} features")
    if found:
        return None
    origin = "named by its metadata" if named else "not named in the file: taken to be the config's, in its order"
    return Inputs(features, origin, (Input(node.name, _TENSOR[node.type], tuple(range(len(features)))),))


def _columns(
    nodes: Sequence[Any], named: tuple[str, ...] | None, configured: tuple[str, ...], found: list[str]
) -> Inputs | None:
    features = named or configured
    places = _match([node.name for node in nodes], features)
    if places is None:
        found.append(
            "it must take one tensor of shape (rows, features), or one input per feature, named as the feature; its "
            f"inputs are {describe(nodes)}"
        )
        return None
    found += [
        f"its input {node.name} is a {node.type}; an input of one feature takes {', '.join(_COLUMN)}"
        for node in nodes
        if node.type not in _COLUMN
    ]
    found += [
        f"its input {node.name} is {describe([node])}; an input of one feature has the shape (rows, 1) or (rows)"
        for node in nodes
        if len(node.shape or [None]) > _ROWS_AND_COLUMNS
        or (len(node.shape or []) == _ROWS_AND_COLUMNS and isinstance(node.shape[1], int) and node.shape[1] != 1)
    ]
    if found:
        return None
    origin = "named by its metadata" if named else "the names of its inputs"
    return Inputs(
        features,
        origin,
        tuple(
            Input(node.name, _COLUMN[node.type], (places[node.name],), len(node.shape or [None, 1]) == 1)
            for node in nodes
        ),
    )


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
