"""MLflow pyfunc models: one file that holds the folder, and a session that asks a process of its own.

The session has the inputs and outputs of an ONNX model, so that all else treats both alike. The model's code runs in
the other process alone (`monitoring/contract/pyfunc_process.py`), and what comes from there are numbers.
"""

import io
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import weakref
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monitoring.contract.config import Model, Pyfunc
from monitoring.contract.errors import DriftloopError
from monitoring.contract.names import ONNX_CLASSES, ONNX_FEATURES
from monitoring.contract.onnx.names import listed
from monitoring.contract.onnx.tensors import TEXT
from monitoring.contract.plain_files import LARGEST

START_SECONDS = 60.0  # for the interpreter, MLflow and the model
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds between two starts of a process that does not come up
_MAGIC = b"PK\x03\x04"
_LARGEST = 2_000_000_000  # bytes of a folder
_LONGEST_HEADER = 1_000_000
_SCRIPT = Path(__file__).parents[1] / "pyfunc_process.py"
_LENGTHS = struct.Struct("<II")
# what the process has of the service's environment, which may hold secrets
_KEPT = ("PATH", "PYTHONPATH", "LANG", "TZ", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class ModelRaisedError(DriftloopError):
    """The model's code has no answer for the rows: it has raised, or returned what is no answer."""


class ModelLostError(DriftloopError):
    """The model's process is gone, or did not answer in time; `interrupted` says that a signal has ended it."""

    def __init__(self, reason: str, *, interrupted: bool = False) -> None:
        super().__init__(reason)
        self.interrupted = interrupted


class UnfitFolderError(DriftloopError):
    """A folder cannot be served as a model's."""


def is_bundle(content: bytes) -> bool:
    """Say whether a model's file is one of `bundle`."""
    return content.startswith(_MAGIC)


def bundle(folder: Path) -> bytes:
    """Return an MLflow model's folder as one file: the same for the same content.

    Raise UnfitFolderError for a link that leads out of it, and for one that is larger than the API takes.
    """
    packed = io.BytesIO()
    files, inside = sorted(path for path in folder.rglob("*") if path.is_file()), folder.resolve()
    if astray := next((path for path in files if not path.resolve().is_relative_to(inside)), None):
        raise UnfitFolderError(f"{astray} is a link that leads out of the model's folder")
    size, most = sum(path.stat().st_size for path in files), LARGEST
    if size > most:
        raise UnfitFolderError(f"{folder} has {size / 1e6:,.0f} MB of files; at most {most / 1e6:,.0f} MB are served")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.writestr(zipfile.ZipInfo(path.relative_to(folder).as_posix()), path.read_bytes())
    return packed.getvalue()


@dataclass(frozen=True)
class Node:
    """An input or output, as ONNX Runtime tells of one."""

    name: str
    type: str
    shape: tuple[int | None, int]


class PyfuncSession:
    """A model in a process of its own, which is asked one request at a time, and started anew when it is lost.

    Until `prove` is called a process that is lost stays lost: a model that fails at once is none to start for ever.
    """

    def __init__(self, content: bytes, model: Model) -> None:
        """Start the process; raise ModelRaisedError or ModelLostError if it does not come up."""
        assert model.pyfunc is not None
        self.fault: str | None = None
        self.interrupted = False
        self._limits, self._model = model.pyfunc, model
        self._proven = False
        self._turn = threading.Lock()
        self._folder = Path(tempfile.mkdtemp(prefix="driftloop-pyfunc-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        _unpack(content, self._folder)
        self._process: _Process | None = _Process(self._limits, self._folder)
        columns = self._process.about.get("columns")
        if columns and set(columns) != set(model.features):
            raise ModelRaisedError(
                f"its signature has the columns {listed(columns)}, and the config the features {listed(model.features)}"
            )
        self._classes = self._find_classes() if model.task == "classification" else ()

    @property
    def pid(self) -> int | None:
        """Return the process's number; None while there is none."""
        process = self._process
        return process.pid if process else None

    def prove(self) -> None:
        """Have the process started anew from now on when it is lost."""
        self._proven = True

    def get_inputs(self) -> list[Node]:
        """Return an input for each feature, of float64 or of texts."""
        kinds = {"numeric": "tensor(double)", "categorical": TEXT}
        return [Node(name, kinds[self._model.kind(name).name], (None, 1)) for name in self._model.features]

    def get_outputs(self) -> list[Node]:
        """Return the one output: the probabilities, or the numbers."""
        if self._model.task == "classification":
            return [Node("probabilities", "tensor(double)", (None, len(self._classes)))]
        return [Node(self._model.prediction, "tensor(double)", (None, 1))]

    @property
    def metadata(self) -> Mapping[str, str]:
        """Return what an ONNX file of ours has as metadata."""
        lists = {ONNX_FEATURES: self._model.features, ONNX_CLASSES: self._classes}
        return {key: json.dumps(names) for key, names in lists.items() if names}

    def run(self, _outputs: Sequence[str], feed: Mapping[str, Any]) -> list[Any]:
        """Return the output for rows, an input (n, 1) for each feature.

        Raise ModelRaisedError if the model has no answer, ModelLostError if its process gives none in time.
        """
        names, given = self._ask(feed)
        if not self._classes and given.shape[1] != 1:
            raise ModelRaisedError(f"it returned {given.shape[1]} numbers for each row, and a regression has one")
        if self._classes and given.shape[1] != len(self._classes):
            wanted = len(self._classes)
            raise ModelRaisedError(f"it returned {given.shape[1]} probabilities for each row, and had {wanted}")
        if names is not None and self._classes:
            if sorted(names) != sorted(self._classes):
                raise ModelRaisedError(f"it returned the columns {listed(names)}, and had {listed(self._classes)}")
            given = given[:, [names.index(name) for name in self._classes]]
        return [given]

    def _find_classes(self) -> tuple[str, ...]:
        assert self._process is not None
        names = self._process.about.get("classes")
        if names is None:
            kinds = {name: self._model.kind(name).name for name in self._model.features}
            zeros = {name: np.full((1, 1), 0.0 if kind == "numeric" else "0", object) for name, kind in kinds.items()}
            names, _ = self._ask(zeros)
        if names is None:
            raise ModelRaisedError(
                "it returned numbers without names, and nobody guesses which is of which class: return a DataFrame of "
                "probabilities with a column for each category"
            )
        return tuple(map(str, names))

    def _ask(self, feed: Mapping[str, Any]) -> tuple[list[str] | None, Any]:
        deadline = time.monotonic() + self._limits.seconds
        if not self._turn.acquire(timeout=self._limits.seconds):
            raise ModelLostError(f"other requests have kept the model's process for {self._limits.seconds:g} s")
        try:
            process = self._process
            if process is None:
                raise ModelLostError(self.fault or "the model's process is gone", interrupted=self.interrupted)
            try:
                return process.ask(self._model, feed, deadline)
            except ModelLostError as error:
                self._lose(process, error)
                raise
        finally:
            self._turn.release()

    def _lose(self, process: "_Process", error: ModelLostError) -> None:
        process.end()
        self.fault, self.interrupted, self._process = str(error), error.interrupted, None
        if self._proven:
            threading.Thread(target=_start_anew, args=(weakref.ref(self),), name="start-pyfunc", daemon=True).start()

    def _start(self) -> bool:
        try:
            self._process = _Process(self._limits, self._folder)
        except DriftloopError as error:
            self.fault = str(error)
            return False
        self.fault = None
        return True


def _start_anew(reference: "weakref.ref[PyfuncSession]") -> None:
    """Start a session's process until it comes up, or nobody has the session any more."""
    pause = _FIRST_PAUSE
    while (session := reference()) is not None and not session._start():  # noqa: SLF001 - a method may not hold it
        del session
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


class _Process:
    """The process, and the socket to it; it ends when nobody has it any more."""

    def __init__(self, limits: Pyfunc, folder: Path) -> None:
        self._limits = limits
        ours, theirs = socket.socketpair()
        python, memory = limits.python or sys.executable, limits.memory_mb * 1_000_000
        environment = {key: os.environ[key] for key in _KEPT if key in os.environ}
        try:
            child = subprocess.Popen(
                [python, str(_SCRIPT), str(theirs.fileno()), str(memory), str(folder)],
                cwd=folder,
                env={**environment, "HOME": str(folder), "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise ModelRaisedError(f"{python}: cannot be started: {error.strerror}") from error
        finally:
            theirs.close()
        self._child, self._wire, self.pid = child, ours, child.pid
        self._ended = weakref.finalize(self, _end, child, ours)
        try:
            self.about, _ = self._receive(time.monotonic() + START_SECONDS)
        except DriftloopError:
            self.end()
            raise
        if "error" in self.about:
            self.end()
            raise ModelRaisedError(f"it cannot be loaded: {self.about['error']}")

    def end(self) -> None:
        """Kill the process and what it has started."""
        self._ended()

    def ask(self, model: Model, feed: Mapping[str, Any], deadline: float) -> tuple[list[str] | None, Any]:
        """Return the names of the answer's columns and its numbers (n, columns)."""
        numbers, texts = model.of_kind("numeric"), model.of_kind("categorical")
        rows = len(next(iter(feed.values())))
        content = json.dumps(
            {
                "rows": rows,
                "classes": model.task == "classification",
                "features": model.features,
                "numbers": numbers,
                "texts": {name: [level or None for level in feed[name].reshape(-1).tolist()] for name in texts},
            }
        ).encode()
        body = np.column_stack([feed[name] for name in numbers]).astype(np.float64).tobytes() if numbers else b""
        self._send(_LENGTHS.pack(len(content), len(body)) + content + body, deadline)
        header, given = self._receive(deadline, rows)
        if "error" in header:
            raise ModelRaisedError(str(header["error"]))
        names = header.get("columns")
        return names, np.frombuffer(given, np.float64).reshape(rows, -1)

    def _send(self, content: bytes, deadline: float) -> None:
        try:
            self._wire.settimeout(max(deadline - time.monotonic(), 0.001))
            self._wire.sendall(content)
        except OSError as error:
            raise self._lost(error) from error

    def _receive(self, deadline: float, rows: int = 0) -> tuple[dict[str, Any], bytes]:
        """Receive a message; raise ModelLostError if none comes in time, or if it is none."""
        try:
            first, second = _LENGTHS.unpack(self._exactly(_LENGTHS.size, deadline))
            if first > _LONGEST_HEADER or second > 8 * 10_000 * rows or (rows and second % (8 * rows)):
                raise ModelLostError("the model's process has sent what is no message")
            header = json.loads(self._exactly(first, deadline))
            if not isinstance(header, dict):
                raise ModelLostError("the model's process has sent what is no message")
            return header, self._exactly(second, deadline)
        except OSError as error:
            raise self._lost(error) from error
        except ValueError as error:
            raise ModelLostError("the model's process has sent what is no message") from error

    def _exactly(self, size: int, deadline: float) -> bytes:
        content = bytearray()
        while len(content) < size:
            self._wire.settimeout(max(deadline - time.monotonic(), 0.001))
            if not (piece := self._wire.recv(min(size - len(content), 1 << 20))):
                raise ConnectionResetError
            content += piece
        return bytes(content)

    def _lost(self, error: OSError) -> ModelLostError:
        if isinstance(error, TimeoutError):
            limit = f"{self._limits.seconds:g}" if hasattr(self, "about") else f"{START_SECONDS:g}"
            return ModelLostError(f"the model has not answered within {limit} s")
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(1)
        status = self._child.returncode
        how = signal.Signals(-status).name if status is not None and status < 0 else f"status {status}"
        killed = status == -signal.SIGKILL
        return ModelLostError(f"the model's process has ended ({how})", interrupted=killed)


def _end(child: "subprocess.Popen[bytes]", wire: socket.socket) -> None:
    wire.close()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        child.wait(5)


def _unpack(content: bytes, folder: Path) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(one.file_size for one in archive.infolist()) > _LARGEST:
                raise ModelRaisedError(f"its files are larger than {_LARGEST / 1e9:g} GB")
            archive.extractall(folder)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        raise ModelRaisedError(f"the file is damaged: {error}") from error
