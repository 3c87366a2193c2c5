"""`python -m flows check-model`: whether an ONNX file can be served, watched and retrained, before it is registered."""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from flows.settings import FlowSettings
from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.errors import DriftloopError
from monitoring.contract.exit_status import CANNOT, PASSES
from monitoring.contract.onnx.model import OnnxModel, UnfitModelError, load_onnx
from monitoring.contract.onnx.names import listed
from monitoring.contract.onnx.trial_process import try_apart
from monitoring.contract.reference import Reference, parse_reference

_TRIED = 1_000  # rows of the reference
_NOBODYS = "a level that no model knows"


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to a parser's."""
    command = commands.add_parser(
        "check-model",
        help="say whether an ONNX model fits the config, or all that is wrong with it",
        description="Say what an ONNX model takes and gives, and whether it fits the config; exit 0 if it does. "
        "Exit 2, with all that is wrong, if it does not or if a file cannot be read.",
    )
    command.add_argument("file", type=Path, metavar="FILE", help="the ONNX model")
    command.add_argument("--reference", type=Path, metavar="FILE", help="rows that the model must have an answer for")
    command.add_argument("--config", type=Path, metavar="FILE", help="the config.yml, instead of DRIFTLOOP_CONFIG's")


def check_model(options: argparse.Namespace) -> int:
    """Print what was found; return 0 if the model fits, 2 if not. Raise DriftloopError if a file cannot be read."""
    path = options.config or FlowSettings.read().driftloop_config
    config = load_config(path)
    content = _content(options.file)
    problems: list[str] = []
    try:
        try_apart(content, config.model)
        model = load_onnx(content, config.model)
    except UnfitModelError as error:
        problems += [f"{options.file}: {problem}" for problem in error.problems]
        model = None
    reference = _reference(options.reference, config, problems)
    if model is not None:
        _describe(model)
        if reference is not None:
            _try_on(model, reference, config, problems)
    if problems:
        return _refuse(problems)
    sys.stdout.write(f"{options.file} fits the config {path}\n")
    return PASSES


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DriftloopError(f"{path}: cannot be read: {error.strerror}") from error


def _reference(path: Path | None, config: Config, problems: list[str]) -> Reference | None:
    if path is None:
        return None
    try:
        return parse_reference(_content(path), path, config.model, predicted=False)
    except DriftloopError as error:
        problems.append(str(error))
        return None


def _try_on(model: OnnxModel, reference: Reference, config: Config, problems: list[str]) -> None:
    from flows.training.sample import feature_matrix  # noqa: PLC0415 - scikit-learn takes seconds

    rows = feature_matrix(reference.table, config.model)
    try:
        model.require_answers(rows, "the reference")
    except UnfitModelError as error:
        problems += error.problems
        return
    if unheard := _unheard(model, rows[:_TRIED], config):
        sys.stdout.write(
            f"levels of {listed(unheard)} change no answer on the reference's rows: if that is not meant, the model "
            "knows them by another spelling. It is given true and false as `true` and `false`, whole numbers as `4`\n"
        )


def _unheard(model: OnnxModel, rows: Any, config: Config) -> list[str]:
    """Return the categorical features whose levels the model answers as it answers a level that nobody knows."""
    found = []
    answers = model.predict(rows)
    for name in config.model.of_kind("categorical"):
        place = config.model.features.index(name)
        held = np.array([level is not None for level in rows[:, place]])
        other = rows.copy()
        other[held, place] = _NOBODYS
        pairs = zip(answers, model.predict(other), strict=True)
        if held.any() and all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in pairs):
            found.append(name)
    return found


def _describe(model: OnnxModel) -> None:
    needs = list(model.needs)
    missing = f"has no answer without a value of {listed(needs)}" if needs else "has an answer where values are missing"
    for key, found in {**model.about, "missing values": missing}.items():
        sys.stdout.write(f"{key + ':':<16}{found}\n")


def _refuse(problems: list[str]) -> int:
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return CANNOT
