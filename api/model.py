"""The model that serves: an ONNX model that fits the config, and its copies on disk."""

import hashlib
import math
import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import orjson

from monitoring.contract.config import Model
from monitoring.contract.errors import DriftloopError
from monitoring.contract.names import ONNX_FILE
from monitoring.contract.onnx.model import InterruptedTrialError, OnnxModel, UnfitModelError, load_onnx
from monitoring.contract.onnx.trial_process import try_apart
from monitoring.contract.plain_files import LARGEST, opened, require_size
from monitoring.contract.storage import replaced

_LONGEST_HEADER = 1 << 16  # bytes of a copy before its model
_PAUSE_SECONDS = 30.0  # before a version is tried again that may be good, and could not be served or kept

Source = Literal["registry", "local copy"]


class ModelRefusedError(DriftloopError):
    """A model cannot be served: it is unreadable, or does not fit the config."""


class ModelUnprovenError(DriftloopError):
    """Whether a model can be served is not known: it came damaged, or was not tried to the end. It is tried again."""


class CopyUnreadableError(DriftloopError):
    """The system does not let the local copy be read, at present."""


class CopyDamagedError(ModelRefusedError):
    """The local copy is not what was kept: the registry has what it was."""


@dataclass(frozen=True)
class Release:
    """A registered version; `created` (milliseconds) tells it from the same number in a registry that was made anew.

    `file` is its artifact's name, `sha256` its digest, if the flows have registered it, and `serves_from` the time, in
    seconds since 1970, at which all who follow the registry change over to it.
    """

    version: str
    created: int
    sha256: str | None = field(default=None, compare=False)  # the local copy, which was checked, goes without
    serves_from: float | None = field(default=None, compare=False)
    file: str = field(default=ONNX_FILE, compare=False)


@dataclass(frozen=True)
class ServedModel:
    """A loaded model; it never changes, so that a request uses one version from its start to its end."""

    release: Release
    source: Source
    onnx: OnnxModel
    loaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def categories(self) -> tuple[str, ...]:
        """Return the categories that it answers with, in the order of its probabilities."""
        return self.onnx.classes


def require_intact(content: bytes, release: Release) -> None:
    """Raise ModelUnprovenError if the file is not the one that was registered: flipped bits may still make a model."""
    if release.sha256 is not None and hashlib.sha256(content).hexdigest() != release.sha256:
        raise ModelUnprovenError("the file is damaged: it is not the one that was registered")


def require_finite(content: bytes, model: Model) -> None:
    """Raise ModelRefusedError unless the model loads and gives first answers in a process of its own, within limits.

    Raise ModelUnprovenError if the process has ended for another reason.
    """
    try:
        try_apart(content, model)
    except InterruptedTrialError as error:
        raise ModelUnprovenError(str(error)) from error
    except UnfitModelError as error:
        raise ModelRefusedError(str(error)) from error


def load(content: bytes, model: Model, release: Release, source: Source) -> ServedModel:
    """Load a model; raise ModelRefusedError if it does not fit the config, ModelUnprovenError if it may be good."""
    try:
        return ServedModel(release, source, load_onnx(content, model))
    except InterruptedTrialError as error:
        raise ModelUnprovenError(str(error)) from error
    except UnfitModelError as error:
        raise ModelRefusedError(str(error)) from error


def load_tried(content: bytes, model: Model, release: Release) -> ServedModel:
    """Load what the registry gave, if it is what was registered and gives first answers.

    Raise ModelRefusedError or ModelUnprovenError.
    """
    require_intact(content, release)
    require_finite(content, model)
    return load(content, model, release, "registry")


class PassedOver:
    """The release that could not be served or kept: one that may be good is tried again after a pause."""

    def __init__(self) -> None:
        self._release: Release | None = None
        self._until = 0.0

    def note(self, release: Release, error: Exception) -> None:
        """Pass a release over, for good if it was refused."""
        pause = math.inf if isinstance(error, ModelRefusedError) else _PAUSE_SECONDS
        self._release, self._until = release, time.monotonic() + pause

    def holds(self, release: Release) -> bool:
        """Say whether a release is not to be tried now."""
        return release == self._release and time.monotonic() < self._until


Stamp = tuple[int, int]  # what tells a file from any other that has had its name; renaming does not change it


def stamp_of(path: Path) -> Stamp | None:
    """Return the stamp of the file that has this name now; None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - each request asks, and Path.stat takes twice as long
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


@dataclass(frozen=True)
class Copy:
    """What a local copy holds, and which file it was read from."""

    stamp: Stamp
    release: Release
    content: bytes = field(repr=False)


def copy_path(folder: Path, name: str, ending: str = "champion") -> Path:
    """Return where the local copy of the registered model of that name lies, or what belongs to it."""
    return folder / f"{name}.{ending}"


def save_copy(folder: Path, name: str, release: Release, content: bytes, *, ending: str = "champion") -> None:
    """Write a copy: one file, so that model and version never differ.

    Its first line is JSON, the version and a digest of all; the ONNX model follows.
    """
    header: dict[str, Any] = {"name": name, "version": release.version, "created": release.created}
    header["digest"] = _copy_digest(header, content)
    with replaced(copy_path(folder, name, ending)) as temporary:
        temporary.write_bytes(orjson.dumps(header, option=orjson.OPT_APPEND_NEWLINE) + content)


def _copy_digest(header: dict[str, Any], content: bytes) -> str:
    """Return the SHA-256 of a copy's header, but for the digest, and of its model."""
    named = {key: header[key] for key in ("name", "version", "created")}
    return hashlib.sha256(orjson.dumps(named) + content).hexdigest()


def read_copy(path: Path) -> Copy | None:
    """Read a copy, or return None if there is none.

    Raise CopyDamagedError if the file is not what was kept: a flipped bit may still make a model. Raise
    CopyUnreadableError if the system does not say what it holds.
    """
    try:
        with opened(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
            require_size(descriptor, LARGEST + _LONGEST_HEADER)
            found = os.fstat(descriptor)
            header, _, content = file.read().partition(b"\n")
        about = orjson.loads(header)
        release = Release(str(about["version"]), int(about["created"]))
        intact = about["digest"] == _copy_digest(about, content)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CopyUnreadableError(f"{path} cannot be read: {error!r}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise CopyDamagedError(f"{path} is no local copy: {error!r}") from error
    if not intact:
        raise CopyDamagedError(f"{path} is damaged: it is not what was kept")
    return Copy((found.st_ino, found.st_mtime_ns), release, content)
