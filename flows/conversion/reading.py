"""Reading a model that somebody brings: which file formats there are, and what each holds.

Loading a pickle (joblib, pickle) runs the code that is in it: docs/security.md.
"""

import pickle
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import joblib
import pyarrow as pa
import skops.io
from sklearn.exceptions import InconsistentVersionWarning

from flows.conversion import mlflow_models
from flows.conversion.boosters import read_lightgbm, read_xgboost
from flows.conversion.catboost_models import read_catboost
from flows.conversion.errors import BroughtModelError
from monitoring.contract.part_reader import reason_of
from monitoring.contract.storage import Remote, place, read_bytes
from monitoring.contract.uris import shown

_ONNX = ".onnx"
_DATA = {"numpy.dtype"}  # of a skops file beside classes of scikit-learn, and what skops trusts by itself


@dataclass(frozen=True)
class Brought:
    """What a source holds: the bytes of an ONNX file, or an object that is to be an estimator; and what to know."""

    source: str
    content: Any
    notes: tuple[str, ...] = ()


Read = Callable[[Path], tuple[Any, tuple[str, ...]]]


def read_model(source: str, *, pyfunc: bool = False) -> Brought:
    """Read a model by its path or URI, or as a pyfunc without loading it; raise BroughtModelError if it cannot be."""
    if source.startswith(mlflow_models.SCHEMES):
        return Brought(source, mlflow_models.read_uri(source, pyfunc=pyfunc))
    if "://" not in source and Path(source).is_dir():
        return Brought(source, mlflow_models.read_folder(Path(source), source, pyfunc=pyfunc))
    if pyfunc:
        raise BroughtModelError(
            f"{shown(source)}: --pyfunc takes what MLflow has logged (runs:/…, models:/…, a folder)"
        )
    reader = _READERS.get(Path(source.partition("?")[0]).suffix.lower())
    if reader is None:
        raise BroughtModelError(f"{shown(source)}: its name ends in none of {', '.join(_READERS)}")
    try:
        where = place(source)
        if not isinstance(where, Remote):
            return Brought(shown(source), *reader(where))
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / where.name
            copy.write_bytes(read_bytes(where))
            return Brought(shown(source), *reader(copy))
    except OSError as error:
        raise BroughtModelError(f"{shown(source)}: cannot be read: {error.strerror or error}") from error
    except pa.ArrowException as error:  # an address that no file system takes
        raise BroughtModelError(f"{shown(source)}: cannot be read: {reason_of(error)}") from error


def _onnx(path: Path) -> tuple[Any, tuple[str, ...]]:
    return path.read_bytes(), ()


def _pickled(path: Path) -> tuple[Any, tuple[str, ...]]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        try:
            content = joblib.load(path)
        except OSError:
            raise
        except Exception as error:  # whatever a pickle's code raises
            raise BroughtModelError(f"{path}: is no readable pickle: {_reason(error)}") from error
    versions = {
        f"scikit-learn {one.message.original_sklearn_version} has written it, and it is read by "
        f"{one.message.current_sklearn_version}: the scores below tell whether it is what it was"
        for one in found
        if isinstance(one.message, InconsistentVersionWarning)
    }
    return content, tuple(sorted(versions))


def _reason(error: Exception) -> str:
    told = f"{type(error).__name__}: {error}".splitlines()[0]
    if isinstance(error, ModuleNotFoundError):
        return f"it needs the package {error.name}, which is not installed here"
    if isinstance(error, AttributeError):
        return f"{told}; what a script defines for itself is in no pickle: put it into a package that is installed here"
    if isinstance(error, pickle.UnpicklingError | EOFError | KeyError | IndexError | ValueError):
        return told
    return f"loading it has failed with {told}"


def _skops(path: Path) -> tuple[Any, tuple[str, ...]]:
    try:
        unknown = skops.io.get_untrusted_types(file=path)
        strange = [name for name in unknown if not _is_known_class(name)]
        content = None if strange else skops.io.load(path, trusted=unknown)
    except OSError:
        raise
    except Exception as error:  # skops' errors have no common base
        raise BroughtModelError(f"{path}: is no readable skops file: {_reason(error)}") from error
    if strange:
        raise BroughtModelError(
            f"{path}: holds {', '.join(strange)}, which is no class of scikit-learn; as a pickle (joblib) it is loaded "
            "with all that it holds"
        )
    return content, ()


def _is_known_class(name: str) -> bool:
    """Say whether a name is of a class of scikit-learn: a function, whosever it is, could be one that runs code."""
    module, _, last = name.rpartition(".")
    if name in _DATA:
        return True
    return module.split(".")[0] == "sklearn" and isinstance(getattr(import_module(module), last, None), type)


def _with(read: Callable[[Path], Any]) -> Read:
    return lambda path: (read(path), ())


_READERS: Mapping[str, Read] = {
    _ONNX: _onnx,
    ".joblib": _pickled,
    ".pkl": _pickled,
    ".pickle": _pickled,
    ".skops": _skops,
    ".txt": _with(read_lightgbm),
    ".json": _with(read_xgboost),
    ".ubj": _with(read_xgboost),
    ".cbm": _with(read_catboost),
}
