"""Models that answer a number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitoring.contract.config import Model
from monitoring.contract.names import ONNX_CLASSES
from monitoring.contract.onnx.answers import FLOATING, Given, OnnxFile, Predicted, Trials
from monitoring.contract.onnx.inputs import Mask
from monitoring.contract.onnx.layouts import describe
from monitoring.contract.onnx.names import listed


@dataclass(frozen=True)
class Column:
    """An output (n, 1) or (n,)."""

    names: tuple[str]

    def read(self, raw: Sequence[Any]) -> Given:
        """Return the numbers (n, 1)."""
        return np.asarray(raw[0], np.float64).reshape(-1, 1)


@dataclass(frozen=True)
class RegressionAnswers:
    """Each row's answer is the number of one output."""

    output: Column
    classes: tuple[str, ...] = ()
    width: int = 1

    @property
    def about(self) -> Mapping[str, str]:
        """Return which output holds the numbers."""
        return {"answers": f"numbers, of the output {self.output.names[0]}"}

    def usable(self, given: Given) -> Given:
        """Return the numbers; infinity is no answer."""
        return np.where(np.isfinite(given), given, np.nan)

    def far_fault(self, given: Given) -> str | None:  # noqa: ARG002 - any number is one
        """Return None."""
        return None

    def decide(self, usable: Given) -> tuple[Predicted, Given]:
        """Return the numbers, NaN where there is no answer, and no probabilities."""
        return usable[:, 0], np.empty((len(usable), 0))

    def present(self, predicted: Predicted) -> Mask:
        """Return which numbers are one."""
        return np.asarray(~np.isnan(predicted.astype(np.float64)))

    @classmethod
    def find(
        cls, file: OnnxFile, model: Model, trials: Trials, problems: tuple[list[str], list[str]]
    ) -> "RegressionAnswers | None":
        """Find the output of the numbers; None, and why among the faults, if none holds them in every trial."""
        faults, _ = problems
        if classifier := _classifier(file):
            faults.append(
                f"{classifier}, and the config's task is a regression, which answers a number: give "
                "`task: classification` with a label and categories, or a model of numbers"
            )
            return None
        if not trials.answers:
            return None
        columns = [node.name for node in file.outputs if node.type in FLOATING and _is_column(node.name, trials)]
        named = [name for name in columns if name in (model.prediction, model.target)]
        if len(found := named or columns) == 1:
            return cls._judged(Column((found[0],)), trials, faults)
        if found:
            faults.append(
                f"its outputs {', '.join(found)} all hold one number a row, and one of them is the answer: leave the "
                f"others out, or name it {model.prediction}"
            )
        else:
            faults.append(
                "it has no output of one number a row, which is a float tensor (rows, 1) or (rows); its outputs are "
                f"{describe(file.outputs)}"
            )
        return None

    @classmethod
    def _judged(cls, output: Column, trials: Trials, faults: list[str]) -> "RegressionAnswers | None":
        first = output.read([trials.answers[0][output.names[0]]])
        if np.isfinite(first).all():
            return cls(output)
        faults.append(f"its output {output.names[0]} gives no finite number for a row of zeros{trials.hint}")
        return None


def _classifier(file: OnnxFile) -> str | None:
    """Return what shows that a file is a classifier: names of classes; None if it has none."""
    if ONNX_CLASSES in file.metadata:
        return f"it is a classifier, as its metadata has `{ONNX_CLASSES}`"
    if file.labels and len(file.outputs) > 1:  # the labels and their probabilities
        return f"it is a classifier of {listed(file.labels[0])}"
    return None


def _is_column(name: str, trials: Trials) -> bool:
    """Say whether an output has one number a row in each trial."""
    return all(np.shape(one[name]) in ((rows,), (rows, 1)) for rows, one in enumerate(trials.answers, 1))
