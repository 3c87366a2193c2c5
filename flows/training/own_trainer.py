"""A trainer of the user's: a function or a command, run apart, whose model is a candidate like any other.

`flows/trainer_process.py` is the process that it runs in, and `flows/training/bounded_process.py` holds it to its
limits. What it leaves is taken for an ONNX model of nobody's: it is tried in a process of its own before it is loaded.
"""

import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flows.training.answers import Answers
from flows.training.bounded_process import Say, run_bounded
from flows.training.columns import KINDS
from flows.training.errors import ModelError
from flows.training.pipeline import collect_out_of_fold, folds_of
from flows.training.sample import Labels, Places, feature_matrix, sample_of
from flows.training.tasks import TASKS
from flows.training.trained import Lesson
from flows.training.trainer_files import CONFIG, JOBLIB_FILE, ONNX_FILE, OUTPUT, REFERENCE, ROWS
from monitoring.contract.config import Config, Model, Retrain
from monitoring.contract.onnx.model import OnnxModel, UnfitModelError, load_onnx
from monitoring.contract.onnx.trial_process import try_apart
from monitoring.contract.plain_files import OddEntryError, read_plain

_ROOT = Path(__file__).parents[2]
_MEGABYTE = 1_000_000
_SECRETS = ("PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_PASSWORD")  # of ours, which no trainer needs


class TrainerError(ModelError):
    """The user's trainer has failed, or has left no model that can be used."""


@dataclass(frozen=True)
class OwnTrained:
    """What the user's trainer has trained; it can be asked to train again, for the predictions of the reference."""

    trainer: "OwnTrainer"
    lesson: Lesson
    exported: onnx.ModelProto
    apart: float | None = None  # the trainer's own process has compared what it converted

    @property
    def name(self) -> str:
        """Return which trainer made it."""
        return f"a model by {self.trainer.name}"

    @property
    def parameters(self) -> Mapping[str, object]:
        """Return which trainer made it."""
        return {"trainer": self.trainer.name}

    def out_of_fold(self, rows: pa.Table, seed: int, blocks: Places | None) -> Answers:
        """Have the trainer train on each four fifths of the rows, and return the answers for the other fifth."""
        model = self.lesson.model
        sample, task = sample_of(rows, model), TASKS[model.task]
        folds = folds_of(task.fold_strata(sample.labels), seed, blocks)
        self.trainer.say(
            "the new reference is to hold predictions of rows that their model has not seen: the trainer runs "
            f"{len(folds)} more times"
        )

        trainings = count(2)  # the first one was the candidate's

        def predict(known: Places, unseen: Places) -> tuple[Labels, npt.NDArray[Any], Sequence[str]]:
            number = next(trainings)
            try:
                found = self.trainer.model_of(Lesson(rows.take(known), self.lesson.reference, model, seed))
            except TrainerError as error:
                raise TrainerError(f"in training {number} of {len(folds) + 1}, for the reference: {error}") from error
            asked = feature_matrix(rows.take(unseen), model)
            found.require_answers(asked, "the rows that it was not given")
            return *found.predict(asked), found.classes

        return collect_out_of_fold(sample.labels, task.names(sample.labels), folds, predict)


class OwnTrainer:
    """Runs the user's trainer, as often as a run needs it, within the limits of all its trainings together."""

    def __init__(self, config: Config, config_path: Path, say: Say) -> None:
        self._retrain, self._model, self._config_path = config.retrain, config.model, config_path.absolute()
        self.say = say
        self._left = config.retrain.limits.time.total_seconds()

    @property
    def name(self) -> str:
        """Return the function, or the command's words."""
        return trainer_name(self._retrain) or ""

    def train(self, lesson: Lesson) -> OwnTrained:
        """Train a candidate; raise TrainerError if there is none."""
        return OwnTrained(self, lesson, onnx.load_from_string(self._trained(lesson)))

    def model_of(self, lesson: Lesson) -> OnnxModel:
        """Train, and return the model; raise TrainerError if there is none."""
        return load_onnx(self._trained(lesson), self._model)

    def _trained(self, lesson: Lesson) -> bytes:
        """Run the trainer, and return an ONNX file that fits the config."""
        with tempfile.TemporaryDirectory(prefix="driftloop-trainer-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            for part in ("work", "output", "tmp"):
                (folder / part).mkdir()
            pq.write_table(given_rows(lesson.rows, self._model), folder / "rows.parquet")
            pq.write_table(given_rows(lesson.reference, self._model), folder / "reference.parquet")
            self._run(self._command, folder)
            output = folder / "output"
            if not os.path.lexists(output / ONNX_FILE) and os.path.lexists(output / JOBLIB_FILE):
                self._run(["convert"], folder)
            content = self._content(output)
        try:
            try_apart(content, self._model)
        except UnfitModelError as error:
            raise TrainerError(f"{self.name} has left a model that cannot be used: {error}") from error
        return content

    @property
    def _command(self) -> list[str]:
        if self._retrain.trainer is not None:
            return ["function", self._retrain.trainer]
        return ["command", *map(_absolute, self._retrain.command or ())]

    def _run(self, what: Sequence[str], folder: Path) -> None:
        limits, begun = self._retrain.limits, time.monotonic()
        memory = limits.memory_mb * _MEGABYTE
        ended = run_bounded(
            [sys.executable, "-m", "flows.trainer_process", str(memory), *what],
            folder / "work",
            self._environment(folder),
            seconds=max(self._left, 0.01),
            memory=memory,
            say=self.say,
        )
        self._left -= time.monotonic() - begun
        if (failure := ended.failure) is not None:
            raise TrainerError(
                f"{self.name} {failure}. The champion stays. Its output is in the run's log; retrain.limits are "
                f"{limits.time} for all trainings of a run and {limits.memory_mb} MB"
            )

    def _environment(self, folder: Path) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in _SECRETS}
        paths = [str(Path(path).absolute()) for path in inherited.get("PYTHONPATH", "").split(os.pathsep) if path]
        return {
            **inherited,
            "PYTHONPATH": os.pathsep.join([str(_ROOT), *paths, str(Path.cwd())]),
            "PYTHONUNBUFFERED": "1",
            "PWD": str(folder / "work"),  # which all that it starts is known by
            "TMPDIR": str(folder / "tmp"),
            CONFIG: str(self._config_path),
            ROWS: str(folder / "rows.parquet"),
            REFERENCE: str(folder / "reference.parquet"),
            OUTPUT: str(folder / "output"),
        }

    def _content(self, output: Path) -> bytes:
        try:
            return read_plain(output / ONNX_FILE)
        except FileNotFoundError:
            found = ", ".join(sorted(path.name for path in output.iterdir())[:5]) or "nothing"
            raise TrainerError(
                f"{self.name} ended with status 0 and left no model: {ONNX_FILE} or {JOBLIB_FILE} is to lie in the "
                f"folder that {OUTPUT} names, and {found} lies there. The champion stays"
            ) from None
        except (OSError, OddEntryError) as error:
            raise TrainerError(f"{self.name}: {ONNX_FILE} {error}. The champion stays") from error


def trainer_name(retrain: Retrain) -> str | None:
    """Return the user's trainer as a person knows it; None where the recipes train."""
    return retrain.trainer or (" ".join(retrain.command) if retrain.command else None)


def given_rows(table: pa.Table, model: Model) -> pa.Table:
    """Return labelled rows as a trainer is given them, the oldest first: features, target, and their time if known.

    Numbers are float64, as the log has them, NaN where there is none; levels are text, the empty one for a missing one.
    """
    table = table.filter(pc.is_valid(table[model.target]))
    columns = {}
    for name in model.features:
        kind = KINDS[model.kind(name).name]
        values = kind.values(table[name], model.dtype)
        numbers = values.dtype.kind == "f"
        columns[name] = values.astype(np.float64) if numbers else pa.array(kind.asked(values), pa.string())
    columns[model.target] = table[model.target]
    known = "timestamp" in table.column_names
    rows = pa.table({**columns, **({"timestamp": table["timestamp"]} if known else {})})
    return rows.sort_by("timestamp") if known else rows


def _absolute(word: str) -> str:
    """Return a command's word, a file's path where it names one: the command works in a folder of its own."""
    with suppress(OSError, ValueError):
        if Path(word).is_file():
            return str(Path(word).absolute())  # a link stays one: through it a program knows its environment
    return word
