"""A model that somebody brings, as ONNX that answers as the original does, or the reason why it cannot be."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from flows.conversion.errors import AS_PYFUNC, BroughtModelError
from flows.conversion.probes import probes
from flows.conversion.reading import Brought
from flows.conversion.sklearn_models import Estimator, as_estimator, convert
from flows.training.export import TOLERANCE, least_unit
from flows.training.sample import Rows
from monitoring.contract.config import Model
from monitoring.contract.onnx.model import OnnxModel, UnfitModelError, load_onnx
from monitoring.contract.onnx.pyfunc import is_bundle
from monitoring.contract.onnx.trial_process import try_apart

__all__ = ["TOLERANCE", "Conversion", "convert_brought"]


@dataclass(frozen=True)
class Conversion:
    """A model as ONNX, and how far its answers are from the original's.

    `apart` is the largest difference on the rows that both were asked for: of a probability, or of a regression's
    answer as a share of the labels' standard deviation; None for a file that was ONNX, and for a pyfunc.
    `notes` are for a person.
    """

    exported: onnx.ModelProto | bytes
    onnx: OnnxModel
    kind: str
    apart: float | None = None
    rows: int = 0
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """Say how it became ONNX."""
        if self.onnx.kind == "pyfunc":
            return "it is served as it is, in a process of its own, which runs its code and is slower than ONNX"
        if self.apart is None:
            return "it is ONNX already"
        return f"converted from {self.kind}; the largest difference on {self.rows} rows is {self.apart:.2g}"


def convert_brought(
    brought: Brought,
    model: Model,
    rows: Rows,
    spread: float,
    tolerance: float | None = None,
    *,
    source: str = "the reference",
) -> Conversion:
    """Return a model as ONNX that answers rows (n, features), which are of that source, as the original does.

    `spread` is the standard deviation of a regression's labels. Raise BroughtModelError, with all that is wrong, if it
    is no model that fits the config, if it cannot be converted, or if an answer differs by more than `tolerance`, which
    is by default TOLERANCE; where the original answers rows with a missing value or a new level, of those too.
    """
    try:
        if isinstance(brought.content, bytes):
            return _as_it_is(brought, model, rows)
        asked = _Asked(rows, source, spread, tolerance)
        return _converted(as_estimator(brought.content, model), brought, asked)
    except UnfitModelError as error:
        raise BroughtModelError("\n".join(f"{brought.source}: {problem}" for problem in error.problems)) from error
    except BroughtModelError as error:
        raise BroughtModelError(f"{brought.source}: {error}") from error


def _as_it_is(brought: Brought, model: Model, rows: Rows) -> Conversion:
    try_apart(brought.content, model)  # it may hold a loop that never ends
    loaded = load_onnx(brought.content, model)
    loaded.require_answers(rows, "the reference")
    if is_bundle(brought.content):
        return Conversion(brought.content, loaded, "pyfunc", notes=brought.notes)
    return Conversion(onnx.load_from_string(brought.content), loaded, "ONNX", notes=brought.notes)


@dataclass(frozen=True)
class _Asked:
    """The rows (n, features) that both models are asked for, where they are from, and how far answers may differ."""

    rows: Rows
    source: str
    spread: float
    tolerance: float | None  # None: TOLERANCE, which nobody has set

    @property
    def most(self) -> float:
        """Return by how much an answer may differ."""
        return TOLERANCE if self.tolerance is None else self.tolerance

    @property
    def may(self) -> str:
        """Say by how much an answer may differ."""
        return f"{self.most:g} may{'' if self.tolerance is None else '; --tolerance sets it'}"


def _converted(estimator: Estimator, brought: Brought, asked: _Asked) -> Conversion:
    """Convert with numbers of float64, and if that does not answer alike, of float32: not all steps have both."""
    rows, original = asked.rows, _original(estimator, asked)
    kind, notes = type(estimator.fitted).__name__, (*brought.notes, *estimator.unsure)
    found: list[Conversion] = []
    refusals: list[Exception] = []
    for double in (True, False):
        try:
            exported = convert(estimator, rows, double=double)
            loaded = load_onnx(exported.SerializeToString(), estimator.model)
            loaded.require_answers(rows, asked.source)
        except (BroughtModelError, UnfitModelError) as error:
            refusals.append(error)
            continue
        apart = _difference(loaded, original, estimator, rows, asked.spread)
        found.append(Conversion(exported, loaded, kind, apart, len(rows), notes))
        if apart <= asked.most:
            _require_alike(found[-1], estimator, asked)
            return found[-1]
    if not found:
        raise BroughtModelError(f"{refusals[-1]}. {AS_PYFUNC}") from refusals[-1]
    nearest = min(found, key=lambda one: one.apart or 0.0)
    raise BroughtModelError(
        f"the converted model's answers differ from the original's by {nearest.apart:.2g} on {asked.source}'s rows "
        f"({asked.may})"
    )


def _require_alike(found: Conversion, estimator: Estimator, asked: _Asked) -> None:
    """Raise BroughtModelError for probes that both answer, and not alike."""
    for what, rows in probes(asked.rows, estimator.model):
        try:
            original = _answers(estimator, rows)
        except Exception:  # noqa: BLE001, S112 - whatever an estimator raises: it does not answer such rows
            continue
        answered = found.onnx.answered(found.onnx.predict(rows)[0]) & np.isfinite(original).reshape(len(rows), -1).all(
            1
        )
        if not answered.any():
            continue
        apart = _difference(found.onnx, original[answered], estimator, rows[answered], asked.spread)
        if not apart <= asked.most:
            raise BroughtModelError(
                f"the converted model answers {asked.source}'s rows as the original does, but {what} its answers "
                f"differ by {apart:.2g} ({asked.may}): have a step of the pipeline deal with that, as SimpleImputer or "
                "OneHotEncoder(handle_unknown='ignore') do"
            )


def _original(estimator: Estimator, asked: _Asked) -> Any:
    """Return the original's answers, in the form that the converted model's are compared in."""
    try:
        return _answers(estimator, asked.rows)
    except Exception as error:  # whatever an estimator raises
        told = str(error).strip().splitlines()
        raise BroughtModelError(
            f"the original has no answer for {asked.source}'s rows: {type(error).__name__}: {told[0] if told else ''}"
        ) from error


def _answers(estimator: Estimator, rows: Rows) -> Any:
    predicted, probabilities = estimator.predict(rows)
    return predicted if probabilities is None else probabilities


def _difference(loaded: OnnxModel, original: Any, estimator: Estimator, rows: Rows, spread: float) -> float:
    predicted, probabilities = loaded.predict(rows)
    if estimator.classes:
        ordered = [estimator.classes.index(name) for name in loaded.classes]
        return float(np.abs(probabilities - original[:, ordered]).max())
    return float(np.abs(predicted - original).max()) / least_unit(spread, original)
