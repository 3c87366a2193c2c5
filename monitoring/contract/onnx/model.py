"""What a model must be, to be served, watched and retrained: an ONNX classifier that fits the config.

docs/own-model.md has the requirements as a table. All of them are checked here, by running the model on a few rows, and
all that is wrong is told at once. A model may have no answer where a value is missing: it says which features it needs,
and whoever has rows decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.contract.config import Model
from monitoring.contract.errors import DriftloopError
from monitoring.contract.names import ONNX_FEATURES
from monitoring.contract.onnx.graph import class_labels, has_external_data
from monitoring.contract.onnx.inputs import Rows, describe, read_inputs
from monitoring.contract.onnx.names import find_classes, listed_names
from monitoring.contract.onnx.onnx_runtime import InferenceSession, first_line, open_session
from monitoring.contract.onnx.outputs import Probabilities, answered, map_keys
from monitoring.contract.onnx.runner import Runner
from monitoring.contract.onnx.trials import far_faults, find_in_all, try_out

NO_ANSWER = ""  # the label of a row that a model has no answer for

_CHUNK = 10_000  # rows a run: bounds what a model's intermediate tensors take
_NAMED = 5


class UnfitModelError(DriftloopError):
    """A model cannot be used: `faults` are its own, `misfits` are names in its metadata that are not the config's."""

    def __init__(self, faults: list[str], misfits: list[str]) -> None:
        self.faults = faults
        self.misfits = misfits
        super().__init__("; ".join(self.problems))

    @property
    def problems(self) -> list[str]:
        """Return all that is wrong."""
        return [*self.faults, *self.misfits]


@dataclass(frozen=True)
class OnnxModel:
    """A loaded model that fits the config; it never changes.

    `about` tells what inputs and outputs there are, and how features and classes are known.
    """

    features: tuple[str, ...]
    classes: tuple[str, ...]
    about: Mapping[str, str] = field(repr=False)
    _runner: Runner = field(repr=False)
    _needed: tuple[int, ...] = field(repr=False)  # places of features

    @property
    def needs(self) -> tuple[str, ...]:
        """Return the features without a value of which the model has no answer."""
        return tuple(self.features[place] for place in self._needed)

    def probabilities(self, rows: Rows) -> Probabilities:
        """Return a row of probabilities (n, classes) per row of features (n, features), NaN being a missing value.

        A row without an answer is NaN, such as one that gets numbers outside 0 to 1. Rounded once, so that whoever asks
        gets the same number, and the same label.
        """
        answers = [self._answer(rows[start : start + _CHUNK]) for start in range(0, len(rows), _CHUNK)]
        return np.concatenate(answers or [np.empty((0, len(self.classes)))]).round(6)

    def predict(self, rows: Rows) -> tuple[NDArray[np.object_], Probabilities]:
        """Return labels (n,), each row's most probable class or NO_ANSWER, and probabilities (n, classes)."""
        probabilities = self.probabilities(rows)
        labels = np.array([*self.classes, NO_ANSWER], dtype=object)
        places = np.where(answered(probabilities), probabilities.argmax(axis=1), len(self.classes))
        return labels[places], probabilities

    def missing_from(self, row: Sequence[float | None]) -> list[str]:
        """Return the features that the model needs and that a row, in their order, has no value of."""
        values = np.array(row, np.float64)
        return [self.features[place] for place in self._needed if np.isnan(values[place])]

    def require_answers(self, rows: Rows, source: str) -> None:
        """Raise UnfitModelError if the model has no answer for some of the rows, which are of that source."""
        without = rows[~answered(self.probabilities(rows))]
        if not len(without):
            return
        lacking = [self.features[place] for place in self._needed if np.isnan(without[:, place]).any()]
        where = f": it needs a value of {listed(lacking)}" if lacking else ""
        if not lacking and self._runner.inputs.holds(without).all():
            where = ": it gives them no numbers between 0 and 1"
        raise UnfitModelError([f"it has no answer for {len(without)} of {len(rows)} rows of {source}{where}"], [])

    def _answer(self, rows: Rows) -> Probabilities:
        if not self._needed:  # then no input is of whole numbers alone, either
            return self._runner.run(rows)
        able = self._runner.inputs.holds(rows) & ~np.asarray(np.isnan(rows[:, self._needed]).any(axis=1))
        if able.all():
            return self._runner.run(rows)
        answers = np.full((len(rows), len(self.classes)), np.nan)
        if able.any():
            answers[able] = self._runner.run(rows[able])
        return answers


def load_onnx(content: bytes, model: Model) -> OnnxModel:
    """Load an ONNX model; raise UnfitModelError with all that is wrong if it is none that fits the config."""
    file = _read(content)
    faults: list[str] = []
    misfits: list[str] = []
    named = listed_names(file.metadata, ONNX_FEATURES, faults)
    if named and len(file.inputs) > 1 and set(named) == set(model.features):
        named = model.features  # where each has its input, their order means nothing
    if named and named != model.features:
        misfits.append(
            f"its features are {', '.join(named)}; the config's are {', '.join(model.features)}, in this order"
        )
    inputs = read_inputs(file.inputs, named, model.features, faults)
    trials = try_out(file.session, inputs, faults) if inputs else []
    keys = map_keys(file.outputs, trials[-1]) if trials else ()
    classes = find_classes(file.metadata, keys, class_labels(content), model.categories, (faults, misfits))
    output = find_in_all(file.outputs, trials, classes.names if classes else model.categories, faults)
    runner = Runner(file.session, inputs, output) if inputs and output else None
    if runner is not None:
        faults += far_faults(runner)
    if faults or misfits or inputs is None or classes is None or output is None or runner is None:
        raise UnfitModelError(faults, misfits)
    about = {
        "inputs": describe(file.inputs),
        "outputs": describe(file.outputs),
        "probabilities": ", ".join(output.names),
        "features": f"{', '.join(inputs.features)} ({inputs.origin})",
        "classes": f"{', '.join(classes.names)} ({classes.origin})",
    }
    return OnnxModel(inputs.features, classes.names, about, runner, runner.needed())


@dataclass(frozen=True)
class _File:
    """What ONNX Runtime tells of a file."""

    session: InferenceSession
    metadata: Mapping[str, str]
    inputs: Sequence[Any]
    outputs: Sequence[Any]


def _read(content: bytes) -> _File:
    if has_external_data(content):
        raise UnfitModelError(["weights of it lie in other files (external data): save it as one file"], [])
    try:
        session = open_session(content)
        metadata = dict(session.get_modelmeta().custom_metadata_map)
        inputs, outputs = session.get_inputs(), session.get_outputs()
        describe([*inputs, *outputs])  # a name that is no text comes to light when it is asked for
    except Exception as error:  # onnxruntime's errors have no common base
        raise UnfitModelError([f"the file is not a readable ONNX model: {first_line(error)}"], []) from error
    return _File(session, metadata, inputs, outputs)


def listed(names: list[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
