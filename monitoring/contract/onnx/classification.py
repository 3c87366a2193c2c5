"""Models that answer a class, by its probability."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from monitoring.contract.config import Model
from monitoring.contract.onnx.answers import Given, OnnxFile, Output, Predicted, Trials, answered, shown
from monitoring.contract.onnx.decision import decide
from monitoring.contract.onnx.inputs import Mask
from monitoring.contract.onnx.names import find_classes
from monitoring.contract.onnx.outputs import (
    ONE_NUMBER,
    PositiveColumn,
    as_probabilities,
    find_output,
    map_keys,
    outside,
)

NO_ANSWER = ""  # the label of a row that a model has no answer for


@dataclass(frozen=True)
class ClassificationAnswers:
    """Each row's answer is the class that its probabilities decide for."""

    output: Output
    classes: tuple[str, ...]
    about: Mapping[str, str]
    _model: Model = field(repr=False)

    @property
    def width(self) -> int:
        """Return the number of classes."""
        return len(self.classes)

    @cached_property
    def _labels(self) -> NDArray[np.object_]:
        return np.array([*self.classes, NO_ANSWER], dtype=object)

    def usable(self, given: Given) -> Given:
        """Return probabilities; numbers outside 0 to 1 are no answer.

        Rounded once, so that whoever asks gets the same number, and the same label.
        """
        return as_probabilities(given).round(6)

    def far_fault(self, given: Given) -> str | None:
        """Return that the numbers are no probabilities: those of a regression or a margin leave 0 to 1 far out."""
        if not outside(given).any():
            return None
        hint = ONE_NUMBER if isinstance(self.output, PositiveColumn) else ""
        name = ", ".join(self.output.names)
        return (
            f"its output {name} gives numbers that are no probabilities, which lie between 0 and 1: {shown(given)}"
            f"{hint}"
        )

    def decide(self, usable: Given) -> tuple[Predicted, Given]:
        """Return each row's class, or NO_ANSWER, and the probabilities."""
        places = np.where(answered(usable), decide(usable, self.classes, self._model), len(self.classes))
        return self._labels[places], usable

    def present(self, predicted: Predicted) -> Mask:
        """Return which labels are a class."""
        return np.asarray(predicted != NO_ANSWER)

    @classmethod
    def find(
        cls, file: OnnxFile, model: Model, trials: Trials, problems: tuple[list[str], list[str]]
    ) -> "ClassificationAnswers | None":
        """Find the classes and the output of their probabilities; None, and why among the problems, without them.

        The problems are faults and misfits; the output holds probabilities in every trial.
        """
        keys = map_keys(file.outputs, trials.answers[-1]) if trials.answers else ()
        classes = find_classes(file.metadata, keys, file.labels, model.categories, problems)
        output = _find_in_all(file, trials, classes.names if classes else model.categories, problems[0])
        if classes is None or output is None:
            return None
        about = {
            "probabilities": ", ".join(output.names),
            "classes": f"{', '.join(classes.names)} ({classes.origin})",
            **_decision(model),
        }
        return cls(output, classes.names, about, model)


def _decision(model: Model) -> dict[str, str]:
    """Return what there is to tell of how a class is decided for, if it is not the most probable one."""
    if model.threshold is None:
        return {}
    return {"answers": f"{model.positive} where its probability is {model.threshold:g} or more"}


def _find_in_all(file: OnnxFile, trials: Trials, classes: tuple[str, ...], faults: list[str]) -> Output | None:
    """Find the output of the probabilities; None, and why among the faults, unless it holds them in every trial."""
    output = None
    for rows, answers in enumerate(trials.answers, 1):
        wrong: list[str] = []
        output = find_output(file.outputs, answers, classes, rows, wrong)
        if wrong:
            faults += wrong
            return None
    return output
