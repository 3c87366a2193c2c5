"""What a model must be, to be served, watched and retrained: an ONNX file that fits the config's features and task.

docs/own-model.md has the requirements as a table. All of them are checked here, by running the model on a few rows, and
all that is wrong is told at once. A model may have no answer where a value is missing: it says which features it needs,
and whoever has rows decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from monitoring.contract.config import Model
from monitoring.contract.errors import DriftloopError
from monitoring.contract.names import ONNX_FEATURES
from monitoring.contract.onnx.answers import Answers, Given, OnnxFile, Predicted, Trials
from monitoring.contract.onnx.classification import ClassificationAnswers
from monitoring.contract.onnx.graph import class_labels, has_external_data
from monitoring.contract.onnx.inputs import Mask, Rows
from monitoring.contract.onnx.layouts import describe, in_order, read_inputs
from monitoring.contract.onnx.names import listed, listed_names
from monitoring.contract.onnx.onnx_runtime import first_line, open_session
from monitoring.contract.onnx.pyfunc import ModelLostError, ModelRaisedError, PyfuncSession, is_bundle
from monitoring.contract.onnx.regression import RegressionAnswers
from monitoring.contract.onnx.runner import Runner
from monitoring.contract.onnx.tensors import Value, missing
from monitoring.contract.onnx.trials import far_faults, try_out
from monitoring.contract.tasks import TaskName

_CHUNK = 10_000  # rows a run: bounds what a model's intermediate tensors take
_TASKS: dict[TaskName, type[ClassificationAnswers | RegressionAnswers]] = {
    "classification": ClassificationAnswers,
    "regression": RegressionAnswers,
}


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


class InterruptedTrialError(UnfitModelError):
    """A trial has ended before the model had: the system has ended it, or was too busy. Another one may succeed."""


@dataclass(frozen=True)
class OnnxModel:
    """A loaded model that fits the config; it never changes. An MLflow pyfunc is one too, whose session is a process.

    `about` tells what inputs and outputs there are, and how features and classes are known.
    """

    features: tuple[str, ...]
    about: Mapping[str, str] = field(repr=False)
    _runner: Runner = field(repr=False)
    _needed: tuple[int, ...] = field(repr=False)  # places of features
    _dtype: str = field(default="float64", repr=False)  # of numbers in the log

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the classes in the order of the probabilities; none of a regression."""
        return self._runner.answers.classes

    @property
    def kind(self) -> Literal["onnx", "pyfunc"]:
        """Return what answers: ONNX Runtime, or the process of an MLflow pyfunc."""
        return "pyfunc" if isinstance(self._runner.session, PyfuncSession) else "onnx"

    @property
    def fault(self) -> str | None:
        """Say why it cannot be asked at present; None if it can."""
        session = self._runner.session
        return session.fault if isinstance(session, PyfuncSession) else None

    @property
    def needs(self) -> tuple[str, ...]:
        """Return the features without a value of which the model has no answer."""
        return tuple(self.features[place] for place in self._needed)

    def predict(self, rows: Rows) -> tuple[Predicted, Given]:
        """Return each row's answer (n,), and probabilities (n, classes), for rows (n, features).

        A row's values are floats, NaN being a missing one; with levels among them an array of objects, in which a
        missing level is None. Of a classification the answer is a class, or NO_ANSWER, beside probabilities of NaN; of
        a regression it is a number, or NaN, and there are no probabilities. It is decided here for all who ask.
        """
        answers = self._runner.answers
        if 0 < len(rows) <= _CHUNK:
            return answers.decide(self._given(rows))
        given = [self._given(rows[start : start + _CHUNK]) for start in range(0, len(rows), _CHUNK)]
        return answers.decide(np.concatenate(given) if given else np.empty((0, answers.width)))

    def probabilities(self, rows: Rows) -> Given:
        """Return the probabilities alone (n, classes)."""
        return self.predict(rows)[1]

    def answered(self, predicted: Predicted) -> Mask:
        """Return of what `predict` gave (n,) whether it is an answer."""
        return self._runner.answers.present(predicted)

    def rows(self, values: Sequence[Sequence[Value]]) -> Rows:
        """Return values in the order of the features, None being a missing one, as the rows that `predict` takes."""
        if self._runner.inputs.levels:
            return np.array(values, np.object_)
        return np.array(values, self._dtype)

    def missing_from(self, row: Sequence[Value]) -> list[str]:
        """Return the features that the model needs and that a row, in their order, has no value of."""
        lacks = missing(self.rows([row]))[0]
        return [self.features[place] for place in self._needed if lacks[place]]

    def unheld_from(self, row: Sequence[Value]) -> list[str]:
        """Return the features that the model takes whole numbers of alone, and of which a row has another value."""
        return list(self._runner.inputs.unheld(self.rows([row])))

    def require_answers(self, rows: Rows, source: str) -> None:
        """Raise UnfitModelError if the model has no answer for some of the rows, which are of that source."""
        without = rows[~self.answered(self.predict(rows)[0])]
        if not len(without):
            return
        lacks, inputs = missing(without), self._runner.inputs
        where = ""
        if lacking := [self.features[place] for place in self._needed if lacks[:, place].any()]:
            where = f": it needs a value of {listed(lacking)}"
        elif unheld := inputs.unheld(without):
            where = f": it takes whole numbers alone of {listed(unheld)}"
        elif self.classes:
            where = ": it gives them no numbers between 0 and 1"
        raise UnfitModelError([f"it has no answer for {len(without)} of {len(rows)} rows of {source}{where}"], [])

    def _given(self, rows: Rows) -> Given:
        if not self._needed and not self._runner.inputs.particular:
            return self._runner.run(rows)
        able = self._runner.inputs.holds(rows) & ~np.asarray(missing(rows[:, self._needed]).any(axis=1))
        if able.all():
            return self._runner.run(rows)
        given = np.full((len(rows), self._runner.answers.width), np.nan)
        if able.any():
            given[able] = self._runner.run(rows[able])
        return given


def load_onnx(content: bytes, model: Model) -> OnnxModel:
    """Load a model; raise UnfitModelError with all that is wrong if it is none that fits the config.

    Raise InterruptedTrialError if the process of a pyfunc was ended by others.
    """
    file = _start(content, model) if is_bundle(content) else _read(content)
    faults: list[str] = []
    misfits: list[str] = []
    named = listed_names(file.metadata, ONNX_FEATURES, faults)
    if named:
        named = in_order(named, file.inputs, model)
    if named and named != model.features:
        misfits.append(
            f"its features are {', '.join(named)}; the config's are {', '.join(model.features)}, in this order"
        )
    inputs = read_inputs(file.inputs, named, model, faults)
    trials = try_out(file, inputs, faults) if inputs else Trials(())
    answers: Answers | None = _TASKS[model.task].find(file, model, trials, (faults, misfits))
    runner = Runner(file.session, inputs, answers) if inputs and answers else None
    needed = runner.needed() if runner else ()
    if runner is not None:
        faults += far_faults(runner)
    _require_process(file.session, faults)
    if faults or misfits or inputs is None or runner is None:
        raise UnfitModelError(faults, misfits)
    about = {
        "inputs": describe(file.inputs),
        "outputs": describe(file.outputs),
        **runner.answers.about,
        "features": f"{', '.join(inputs.features)} ({inputs.origin})",
        **({"levels": inputs.about_levels} if inputs.levels else {}),
    }
    return OnnxModel(inputs.features, about, runner, needed, model.dtype)


def _start(content: bytes, model: Model) -> OnnxFile:
    """Start the process of a pyfunc."""
    if model.pyfunc is None:
        raise UnfitModelError(
            ["it is an MLflow pyfunc, which runs code of its own; `model.pyfunc: {}` in config.yml allows it"],
            [],
        )
    try:
        session = PyfuncSession(content, model)
    except ModelRaisedError as error:
        raise UnfitModelError([str(error)], []) from error
    except ModelLostError as error:
        raise (InterruptedTrialError if error.interrupted else UnfitModelError)([str(error)], []) from error
    return OnnxFile(session, session.metadata, session.get_inputs(), session.get_outputs(), [])


def _require_process(session: Any, faults: list[str]) -> None:
    """Raise the error of a pyfunc whose process was lost in the trials; let one that has passed them serve."""
    if not isinstance(session, PyfuncSession):
        return
    if session.fault is not None:
        raise (InterruptedTrialError if session.interrupted else UnfitModelError)([session.fault], [])
    if not faults:
        session.prove()


def _read(content: bytes) -> OnnxFile:
    if has_external_data(content):
        raise UnfitModelError(["weights of it lie in other files (external data): save it as one file"], [])
    try:
        session = open_session(content)
        metadata = dict(session.get_modelmeta().custom_metadata_map)
        inputs, outputs = session.get_inputs(), session.get_outputs()
        describe([*inputs, *outputs])  # a name that is no text comes to light when it is asked for
    except Exception as error:  # onnxruntime's errors have no common base
        raise UnfitModelError([f"the file is not a readable ONNX model: {first_line(error)}"], []) from error
    return OnnxFile(session, metadata, inputs, outputs, class_labels(content))
