"""The rows that a model is tried on before it is taken: a few small ones, and a few that lie far out."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from monitoring.contract.onnx.inputs import Inputs, Rows
from monitoring.contract.onnx.onnx_runtime import InferenceSession, first_line
from monitoring.contract.onnx.outputs import Output, find_output, outside
from monitoring.contract.onnx.runner import Runner

_FAR = (10.0, 1e3, 1e6)


def try_out(session: InferenceSession, inputs: Inputs, faults: list[str]) -> list[dict[str, Any]]:
    """Run one row, two and three, the first of zeros, as requests would; return what all outputs give."""
    width = len(inputs.features)
    rows = np.array([[0.0] * width, [1.0] * width, [float(place % 2) for place in range(width)]])
    outputs = [node.name for node in session.get_outputs()]
    trials = []
    for count in range(1, len(rows) + 1):
        try:
            trials.append(dict(zip(outputs, session.run(outputs, inputs.feed(rows[:count])), strict=True)))
        except Exception as error:  # noqa: BLE001 - onnxruntime's errors have no common base
            faults.append(f"it fails on {count} row(s) of {width} features: {first_line(error)}")
            return []
    return trials


def find_in_all(
    nodes: Sequence[Any], trials: list[dict[str, Any]], classes: tuple[str, ...], faults: list[str]
) -> Output | None:
    """Find the output of the probabilities; None, and why among the faults, unless it holds them in every trial."""
    output = None
    for rows, answers in enumerate(trials, 1):
        wrong: list[str] = []
        output = find_output(nodes, answers, classes, rows, wrong)
        if wrong:
            faults += wrong
            return None
    return output


def far_faults(runner: Runner) -> list[str]:
    """Return what is wrong with a model's numbers far out, where a regression or a margin leaves 0 to 1.

    Only numbers tell: a model may have none there, or fail.
    """
    for row in _far_rows(runner.inputs):
        try:
            given = runner.raw(row)
        except Exception:  # noqa: BLE001, S112 - onnxruntime's errors have no common base
            continue
        if outside(given).any():
            shown = ", ".join(f"{value:.4g}" for value in given[0][:5])
            name = ", ".join(runner.output.names)
            return [f"its output {name} gives numbers that are no probabilities, which lie between 0 and 1: {shown}"]
    return []


def _far_rows(inputs: Inputs) -> list[Rows]:
    """Return single rows (1, features) of large values of either sign: all alike, in turns, and mixed at random."""
    width = len(inputs.features)
    turns = np.arange(width) % 2
    mixed = np.random.default_rng(1).choice([-1.0, 1.0], (4, width))
    patterns = [np.ones(width), 1.0 - turns, 1.0 * turns, 1.0 - 2 * turns, *mixed]
    return [inputs.nearest(np.array([far * sign * one])) for far in _FAR for sign in (1, -1) for one in patterns]
