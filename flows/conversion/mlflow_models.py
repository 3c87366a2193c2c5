"""Models that MLflow has logged: `runs:/…` and `models:/…` of the stack's MLflow, and folders with an `MLmodel`."""

import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import mlflow.artifacts
import yaml
from mlflow.exceptions import MlflowException
from requests import RequestException

from flows.conversion.errors import AS_PYFUNC, BroughtModelError
from monitoring.contract.onnx.pyfunc import UnfitFolderError, bundle

SCHEMES = ("runs:/", "models:/")
_FLAVOURS = ("onnx", "lightgbm", "xgboost", "catboost", "sklearn")  # the more particular ones first


def read_uri(uri: str, *, pyfunc: bool = False) -> Any:
    """Return the model of an MLflow URI as `read_folder` does; raise BroughtModelError if it cannot be fetched."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = mlflow.artifacts.download_artifacts(uri, dst_path=folder)
        except (MlflowException, RequestException, OSError) as error:
            raise BroughtModelError(f"{uri}: MLflow does not give it: {str(error).splitlines()[0]}") from error
        return read_folder(Path(path), uri, pyfunc=pyfunc)


def read_folder(path: Path, shown: str, *, pyfunc: bool = False) -> Any:
    """Return a logged model: the bytes of its ONNX file, or an estimator; raise BroughtModelError if it is neither.

    As a `pyfunc` return its folder's bytes, and load nothing.
    """
    try:
        flavours = {**yaml.safe_load((path / "MLmodel").read_bytes())["flavors"]}
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise BroughtModelError(f"{shown}: is no folder of a model that MLflow has logged (no MLmodel)") from error
    if pyfunc:
        if "python_function" not in flavours:
            raise BroughtModelError(f"{shown}: it has no flavour python_function, which --pyfunc takes")
        try:
            return bundle(path)
        except UnfitFolderError as error:
            raise BroughtModelError(f"{shown}: {error}") from error
    flavour = next((name for name in _FLAVOURS if name in flavours), None)
    if flavour is None:
        raise BroughtModelError(
            f"{shown}: its flavours are {', '.join(flavours)}; those that are taken are {', '.join(_FLAVOURS)}. "
            f"{AS_PYFUNC}"
        )
    if flavour == "onnx":
        return (path / (flavours["onnx"] or {}).get("data", "model.onnx")).read_bytes()
    try:
        return import_module(f"mlflow.{flavour}").load_model(str(path))
    except Exception as error:  # whatever its code raises
        told = str(error).strip().splitlines() or [""]
        raise BroughtModelError(f"{shown}: MLflow cannot load it: {type(error).__name__}: {told[0]}") from error
