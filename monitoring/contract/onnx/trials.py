"""The rows that a model is tried on before it is taken: a few small ones, and a few that lie far out."""

from dataclasses import replace
from typing import Any

import numpy as np

from monitoring.contract.onnx.answers import OnnxFile, Trials
from monitoring.contract.onnx.inputs import Inputs, Rows
from monitoring.contract.onnx.onnx_runtime import first_line
from monitoring.contract.onnx.runner import Runner
from monitoring.contract.onnx.tensors import TEXT

_FAR = (10.0, 1e3, 1e6)
_UNSEEN = 9_999_991.0  # as a level, where levels are whole numbers


def try_out(file: OnnxFile, inputs: Inputs, faults: list[str]) -> Trials:
    """Run one row, two and three, the first of zeros, as requests would.

    Levels are texts of 0 and 1, and then ones that are in no reference: what data will come is not known here, and
    what is new in it must have an answer.
    """
    width = len(inputs.features)
    numbers = np.array([[0.0] * width, [1.0] * width, [float(place % 2) for place in range(width)]])
    rows = inputs.rows(numbers)
    outputs = [node.name for node in file.outputs]
    trials, answers = Trials((), inputs.levels), list[dict[str, Any]]()
    for tried in [*(rows[:count] for count in range(1, len(rows) + 1)), *_unseen(inputs)]:
        try:
            answers.append(dict(zip(outputs, file.session.run(outputs, inputs.feed(tried)), strict=True)))
        except Exception as error:  # noqa: BLE001 - onnxruntime's errors have no common base
            faults.append(f"it fails on {len(tried)} row(s) of {width} features: {first_line(error)}{trials.hint}")
            return trials
    return replace(trials, answers=answers[: len(rows)])


def _unseen(inputs: Inputs) -> list[Rows]:
    """Return a row (1, features) of levels that no reference has, if there are any."""
    if not inputs.levels:
        return []
    row = inputs.rows(np.where([feature in inputs.levels for feature in inputs.features], _UNSEEN, 0.0)[np.newaxis])
    for one in inputs.inputs:
        if one.type == TEXT:
            row[:, one.places] = "a level that is in no reference"
    return [row]


def far_faults(runner: Runner) -> list[str]:
    """Return what is wrong with a model's numbers far out.

    Only numbers tell: a model may have none there, or fail.
    """
    for row in _far_rows(runner.inputs):
        try:
            given = runner.raw(row)
        except Exception:  # noqa: BLE001, S112 - onnxruntime's errors have no common base
            continue
        if fault := runner.answers.far_fault(given):
            return [fault]
    return []


def _far_rows(inputs: Inputs) -> list[Rows]:
    """Return single rows (1, features) of large values of either sign: all alike, in turns, and mixed at random."""
    width = len(inputs.features)
    turns = np.arange(width) % 2
    mixed = np.random.default_rng(1).choice([-1.0, 1.0], (4, width))
    patterns = [np.ones(width), 1.0 - turns, 1.0 * turns, 1.0 - 2 * turns, *mixed]
    return [inputs.rows(np.array([far * sign * one])) for far in _FAR for sign in (1, -1) for one in patterns]
