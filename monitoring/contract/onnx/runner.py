"""A model's session, and how rows go in and answers come out."""

from dataclasses import dataclass

import numpy as np

from monitoring.contract.onnx.answers import Answers, Given, answered
from monitoring.contract.onnx.inputs import Inputs, Mask, Rows
from monitoring.contract.onnx.onnx_runtime import InferenceSession

_TRIED_AT_ONCE = 256


@dataclass(frozen=True)
class Runner:
    """A session, and how rows go in and answers come out."""

    session: InferenceSession
    inputs: Inputs
    answers: Answers

    def run(self, rows: Rows) -> Given:
        """Return what the rows are given (n, width); NaN where it is no answer."""
        return self.answers.usable(self.raw(rows))

    def raw(self, rows: Rows) -> Given:
        """Return what the model gives in the place of answers (n, width)."""
        output = self.answers.output
        return output.read(self.session.run(output.names, self.inputs.feed(rows)))

    def needed(self) -> tuple[int, ...]:
        """Return the places of the features without a value of which there is no answer.

        Each is tried by itself; a model that answers then, and not where all are missing, needs them all.
        """
        width = len(self.inputs.features)
        without: list[int] = []
        for start in range(0, width, _TRIED_AT_ONCE):
            places = np.arange(start, min(start + _TRIED_AT_ONCE, width))
            numbers = np.zeros((len(places), width))
            numbers[np.arange(len(places)), places] = np.nan
            without += places[~self._answers(self.inputs.rows(numbers))].tolist()
        if not without and not self._answers(self.inputs.rows(np.full((1, width), np.nan))).all():
            return tuple(range(width))
        return tuple(without)

    def _answers(self, rows: Rows) -> Mask:
        """Return for each row (n,) whether there is an answer; none is one if the run fails."""
        mask = self.inputs.holds(rows)
        try:
            mask[mask] = answered(self.run(rows[mask])) if mask.any() else False
        except Exception:  # noqa: BLE001 - onnxruntime's errors have no common base
            one_by_one = [self._answers(rows[i : i + 1]) for i in range(len(rows))] if len(rows) > 1 else []
            return np.concatenate(one_by_one or [np.zeros(1, np.bool_)])
        return mask
