"""The model that serves: an ONNX model that fits the config, and its local copy on disk."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from api.onnx_runtime import InferenceSession, SessionOptions
from monitoring.contract.config import Model
from monitoring.contract.errors import DriftloopError
from monitoring.contract.names import ONNX_CLASSES, ONNX_FEATURES
from monitoring.contract.storage import replaced

Source = Literal["registry", "local copy"]

_CHUNK = 10_000  # rows a run: bounds what a model's intermediate tensors take


class ModelRefusedError(DriftloopError):
    """A model cannot be served: it is unreadable, or does not fit the config."""


@dataclass(frozen=True)
class Release:
    """A registered version; `created` (milliseconds) tells it from the same number in a registry that was made anew.

    `sha256` is that of its model.onnx, if the flows have registered it.
    """

    version: str
    created: int
    sha256: str | None = field(default=None, compare=False)  # the local copy, which was checked, goes without


@dataclass(frozen=True)
class ServedModel:
    """A loaded model; it never changes, so that a request uses one version from its start to its end."""

    release: Release
    source: Source
    categories: tuple[str, ...]
    session: InferenceSession
    input: str
    output: str
    loaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def probabilities(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return a row of probabilities per row of features, in the order of `categories`; NaN is a missing value."""
        runs = [
            self.session.run([self.output], {self.input: rows[start : start + _CHUNK]})[0]
            for start in range(0, len(rows), _CHUNK)
        ]
        # Rounded once, so that the answer and the log hold the same number.
        probabilities: NDArray[np.float64] = np.concatenate(runs).astype(np.float64)
        return probabilities.round(6)


def require_intact(content: bytes, release: Release) -> None:
    """Raise ModelRefusedError if the file is not the one that was registered: flipped bits may still make a model."""
    if release.sha256 is not None and hashlib.sha256(content).hexdigest() != release.sha256:
        raise ModelRefusedError("the file is damaged: it is not the one that was registered")


def load(content: bytes, model: Model, release: Release, source: Source) -> ServedModel:
    """Load an ONNX model; raise ModelRefusedError if it does not fit the config."""
    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # the workers share the cores
    options.log_severity_level = 3
    try:
        session = InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base
        raise ModelRefusedError(f"the file is not a readable ONNX model: {error}") from error
    metadata = session.get_modelmeta().custom_metadata_map
    features, categories = _names(metadata, ONNX_FEATURES), _names(metadata, ONNX_CLASSES)
    if features != model.features:
        raise ModelRefusedError(
            f"its features are {', '.join(features)}; the config's are {', '.join(model.features)}, in this order"
        )
    if not set(categories) <= set(model.categories):  # it may have learnt from rows that lack a category
        raise ModelRefusedError(
            f"its classes are {', '.join(categories)}; the config's categories are {', '.join(model.categories)}"
        )
    inputs, outputs = session.get_inputs(), [o for o in session.get_outputs() if o.type == "tensor(float)"]
    if [i.type for i in inputs] != ["tensor(float)"] or len(outputs) != 1:
        raise ModelRefusedError("it must take one float tensor and give one float tensor, the probabilities")
    served = ServedModel(release, source, categories, session, inputs[0].name, outputs[0].name)
    _try_out(served, len(model.features))
    return served


def _names(metadata: dict[str, str], key: str) -> tuple[str, ...]:
    try:
        names = orjson.loads(metadata[key])
    except (KeyError, orjson.JSONDecodeError) as error:
        raise ModelRefusedError(f"its metadata lacks `{key}`, a JSON list of names") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelRefusedError(f"its metadata's `{key}` is not a JSON list of names")
    return tuple(names)


def _try_out(served: ServedModel, features: int) -> None:
    """Predict a row of zeros and one without any value, as a request would."""
    rows = np.array([[0.0] * features, [np.nan] * features], np.float32)
    try:
        probabilities = served.probabilities(rows)
    except Exception as error:  # onnxruntime's errors have no common base
        raise ModelRefusedError(f"it fails on a row of {features} features: {error}") from error
    if probabilities.shape != (2, len(served.categories)):
        raise ModelRefusedError(f"it gives {probabilities.shape[1:]} numbers a row, not one for each class")
    if not np.isfinite(probabilities).all():
        raise ModelRefusedError("it gives no finite probabilities for zeros or for missing values")


def copy_path(folder: Path, name: str) -> Path:
    """Return where the local copy of the registered model of that name lies."""
    return folder / f"{name}.champion"


def save_copy(folder: Path, name: str, release: Release, content: bytes) -> None:
    """Keep a copy for a start without the registry: one file, so that model and version never differ.

    Its first line is JSON, the version; the ONNX model follows.
    """
    header: dict[str, Any] = {"name": name, "version": release.version, "created": release.created}
    with replaced(copy_path(folder, name)) as temporary:
        temporary.write_bytes(orjson.dumps(header, option=orjson.OPT_APPEND_NEWLINE) + content)


def load_copy(folder: Path, model: Model) -> ServedModel | None:
    """Load the local copy, or return None if there is none; raise ModelRefusedError if it cannot be served."""
    path = copy_path(folder, model.name)
    try:
        header, _, content = path.read_bytes().partition(b"\n")
        about = orjson.loads(header)
        release = Release(str(about["version"]), int(about["created"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelRefusedError(f"{path} is not a local copy: {error}") from error
    return load(content, model, release, "local copy")
