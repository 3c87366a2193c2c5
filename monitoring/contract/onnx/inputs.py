"""How rows of features become the inputs of an ONNX model."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.contract.onnx.names import listed
from monitoring.contract.onnx.tensors import BOUNDS, TEXT, TYPES, TensorKind, texts

Rows = NDArray[np.float32] | NDArray[np.float64] | NDArray[np.object_]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Input:
    """One input: the places of its features in a row, their kinds, and whether it takes (n,) in the place of (n, 1)."""

    name: str
    type: str
    places: tuple[int, ...]
    kinds: tuple[TensorKind, ...]
    flat: bool = False

    @cached_property
    def coded(self) -> tuple[int, ...]:
        """Return the places of levels that it takes as whole numbers."""
        if self.type == TEXT:
            return ()
        return tuple(p for p, kind in zip(self.places, self.kinds, strict=True) if not kind.numbers_already)

    @cached_property
    def whole(self) -> tuple[int, ...]:
        """Return the places of the features that it takes whole numbers of alone."""
        if self.type == TEXT:
            return ()
        return self.coded if self._dtype.kind == "f" else self.places

    @cached_property
    def _dtype(self) -> np.dtype[Any]:
        return TYPES[self.type]

    def holds(self, rows: Rows) -> Mask:
        """Return for each row (n,) whether the tensor can hold its values: of integers, missing is none of them."""
        low, high = BOUNDS[self._dtype.name]
        values = self._numbers(rows)[:, [self.places.index(place) for place in self.whole]].astype(np.float64)
        fits = (values == np.rint(values)) & (values >= low) & (values <= high)
        if self._dtype.kind == "f":
            fits |= np.isnan(values)
        return np.asarray(fits.all(axis=1))

    def nearest(self, numbers: Floats) -> Floats:
        """Return the nearest numbers (n, whole) that it can hold of the features that it takes whole numbers of."""
        return np.clip(np.rint(numbers[:, self.whole]), *BOUNDS[self._dtype.name])

    def values(self, rows: Rows) -> NDArray[Any]:
        """Return the rows' values as the input takes them."""
        if self.type == TEXT:
            taken = texts(rows[:, self.places])
        else:
            with np.errstate(over="ignore"):  # beyond float32 is infinity, and what comes of it is looked at
                taken = np.ascontiguousarray(self._numbers(rows), self._dtype)
        return taken.ravel() if self.flat else taken

    def _numbers(self, rows: Rows) -> NDArray[Any]:
        taken = rows if len(self.places) == rows.shape[1] else rows[:, self.places]
        if not self.coded:
            return taken
        return np.column_stack([kind.numbers(taken[:, at]) for at, kind in enumerate(self.kinds)])


@dataclass(frozen=True)
class Inputs:
    """All inputs of a model, the features in the order of its rows with their kinds, and how these are known."""

    features: tuple[str, ...]
    kinds: tuple[TensorKind, ...]
    origin: str
    inputs: tuple[Input, ...]

    @cached_property
    def particular(self) -> tuple[Input, ...]:
        """Return the inputs that cannot hold every value of their features."""
        return tuple(one for one in self.inputs if one.whole)

    @cached_property
    def levels(self) -> tuple[str, ...]:
        """Return the features that are levels."""
        return tuple(f for f, kind in zip(self.features, self.kinds, strict=True) if not kind.numbers_already)

    @property
    def about_levels(self) -> str:
        """Return how levels are taken."""
        coded = {self.features[place] for one in self.inputs for place in one.coded}
        parts = {
            "as text": [feature for feature in self.levels if feature not in coded],
            "as whole numbers; another text has no answer": [feature for feature in self.levels if feature in coded],
        }
        return ", and ".join(f"{listed(features)} {how}" for how, features in parts.items() if features)

    def holds(self, rows: Rows) -> Mask:
        """Return for each row (n,) whether the inputs can hold its values."""
        mask = np.ones(len(rows), np.bool_)
        for one in self.particular:
            mask &= one.holds(rows)
        return mask

    def unheld(self, rows: Rows) -> tuple[str, ...]:
        """Return the features of which an input cannot hold a value of the rows."""
        return tuple(
            self.features[place]
            for one in self.particular
            for place in one.whole
            if not self._alone(one, place).holds(rows).all()
        )

    def _alone(self, one: Input, place: int) -> Input:
        return Input(one.name, one.type, (place,), (self.kinds[place],))

    def rows(self, numbers: Floats) -> Rows:
        """Return rows to try a model with: of the features' kinds, nearest to these numbers, NaN being missing."""
        near = numbers.copy()
        for one in self.particular:
            near[:, one.whole] = one.nearest(near)
        if not self.levels:
            return near
        rows = np.empty(near.shape, np.object_)
        for place, kind in enumerate(self.kinds):
            rows[:, place] = [kind.value(number) for number in near[:, place].tolist()]
        return rows

    def feed(self, rows: Rows) -> dict[str, NDArray[Any]]:
        """Return what a session takes."""
        return {one.name: one.values(rows) for one in self.inputs}
