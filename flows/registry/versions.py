"""The registered versions in MLflow: load, register, promote and demote them. flows/registry/tags.py names their tags.

Aliases: `champion` serves; `previous` served before it, and is there while it can be rolled back to; `challenger` is on
trial (`flows.rollout`).
"""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import TypeAlias

import mlflow
import mlflow.artifacts
import mlflow.onnx
import numpy as np
import onnx
import pyarrow as pa
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from requests import RequestException

from flows.registry.tags import TRAINER
from flows.training.sample import feature_matrix
from monitoring.contract.config import Model
from monitoring.contract.errors import DriftloopError
from monitoring.contract.names import (
    CHALLENGER,
    CHAMPION,
    LEAD_SECONDS,
    LEARNED_THROUGH,
    MODEL_FILE,
    MODEL_SHA256,
    ONNX_FILE,
    PREVIOUS,
    PYFUNC_FILE,
    SERVES_FROM,
)
from monitoring.contract.onnx.model import OnnxModel, UnfitModelError, load_onnx
from monitoring.contract.onnx.trial_process import try_apart
from monitoring.contract.reference import Reference
from monitoring.contract.storage import step
from monitoring.contract.times import Micros, latest_time

Exported: TypeAlias = onnx.ModelProto | bytes  # the latter is of a pyfunc: `monitoring.contract.onnx.pyfunc.bundle`

TRAINED = ("bootstrap", "retrain")  # the origins of versions that a flow has trained

_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}  # no such model; no such alias

_LONGEST_RUN_TAG = 8000  # characters that MLflow's database takes; a version's tag, which has all, may be 100,000 long


class RegistryError(DriftloopError):
    """MLflow cannot be used, or does not hold what is needed."""


class UnusableVersionError(RegistryError):
    """A version's artifact cannot be fetched, or is no model that can be used."""


class UnfitVersionError(RegistryError):
    """A version's model takes other features than the config's, or answers in other categories."""


@dataclass(frozen=True)
class Champion:
    """The version that serves, and its model.

    `learned_through` is the time of the newest logged row that it has learned from, where the flow that has trained it,
    or the person who has brought it, says so.
    """

    version: str
    onnx: OnnxModel
    is_brought: bool = False  # a person has made it, and no flow has trained it
    learned_through: Micros | None = None

    def unseen_after(self, reference: Reference) -> Micros | None:
        """Return the time after which the log's rows are new to it; None if all are.

        They are newer than its reference. A version that a person has made champion in MLflow may have learned from
        rows that are newer than the reference, which is another version's.
        """
        latest = latest_time()  # what is dated ahead of it, by a clock that was wrong, would let no row in
        known = [moment for moment in (reference.through, self.learned_through) if moment is not None]
        known = [moment for moment in known if moment <= latest]
        return max(known, default=None)

    def require_answers(self, reference: pa.Table, model: Model) -> None:
        """Raise UnusableVersionError if it has no answer for some of the reference's rows."""
        try:
            self.onnx.require_answers(feature_matrix(reference, model), "the reference")
        except UnfitModelError as error:
            raise UnusableVersionError(f"{model.name} version {self.version} cannot be used: {error}") from error


@dataclass(frozen=True)
class Registered:
    """A model version and the MLflow run that made it."""

    version: str
    run_id: str
    experiment_id: str

    def links(self, server: str, name: str) -> tuple[str, str]:
        """Return the addresses of the version's and of the run's page in MLflow."""
        version = f"{server}/#/models/{name}/versions/{self.version}"
        return version, f"{server}/#/experiments/{self.experiment_id}/runs/{self.run_id}"


def load_champion(model: Model) -> Champion | None:
    """Load the champion's ONNX model; None if there is no champion yet.

    Raise UnfitVersionError if it does not fit the config, UnusableVersionError if it cannot be used at all.
    """
    version = version_of(model.name, CHAMPION)
    try:
        return None if version is None else load_version(model, version)
    except UnusableVersionError as error:
        raise UnusableVersionError(f"the champion is of no use, `make rollback` goes back from it: {error}") from error


def version_of(name: str, alias: str) -> str | None:
    """Return the version that an alias points at; None if there is none."""
    try:
        return str(mlflow.MlflowClient().get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        if error.error_code in _ABSENT or (
            error.get_http_status_code() == HTTPStatus.FORBIDDEN and not _is_registered(name)
        ):
            return None
        raise RegistryError(f"MLflow cannot say which version of {name} is {alias}: {error}") from error


def _is_registered(name: str) -> bool:
    """Say whether there is a model of that name: with accounts, MLflow refuses to look for an alias of none."""
    try:
        mlflow.MlflowClient().get_registered_model(name)
    except MlflowException as error:
        return error.error_code not in _ABSENT
    return True


def load_version(model: Model, version: str) -> Champion:
    """Load a version's ONNX model; raise UnusableVersionError or UnfitVersionError if that cannot be done."""
    name, client = model.name, mlflow.MlflowClient()
    tags = tags_of(name, version)
    file = PYFUNC_FILE if tags.get(MODEL_FILE) == PYFUNC_FILE else ONNX_FILE
    try:
        uri = client.get_model_version_download_uri(name, version)
        with tempfile.TemporaryDirectory() as folder:
            path = mlflow.artifacts.download_artifacts(f"{uri.rstrip('/')}/{file}", dst_path=folder)
            content = Path(path).read_bytes()
    except (MlflowException, RequestException, OSError) as error:
        raise UnusableVersionError(f"{file} of {name} version {version} cannot be fetched: {error}") from error
    digest = tags.get(MODEL_SHA256)
    if digest is not None and digest != hashlib.sha256(content).hexdigest():
        raise UnusableVersionError(f"{file} of {name} version {version} is not the file that was registered")
    is_brought = tags.get("origin") not in TRAINED or TRAINER in tags
    try:
        if is_brought:
            try_apart(content, model)  # it may hold a loop that never ends; one of our own holds none
        return Champion(
            version,
            load_onnx(content, model),
            is_brought=is_brought,
            learned_through=_learned_through(tags),
        )
    except UnfitModelError as error:
        kind = UnusableVersionError if error.faults else UnfitVersionError
        raise kind(f"{name} version {version} cannot be used: {error}") from error


def _learned_through(tags: Mapping[str, str]) -> Micros | None:
    text = tags.get(LEARNED_THROUGH, "")
    return Micros(int(text)) if text.isascii() and text.isdigit() else None


def register(
    exported: Exported,
    model: Model,
    *,
    parameters: Mapping[str, object],
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
) -> Registered:
    """Log a model with its parameters and metrics, and register it as a new version that carries the tags."""
    tags = {**tags, MODEL_SHA256: digest_of(exported)}
    if isinstance(exported, bytes):
        tags[MODEL_FILE] = PYFUNC_FILE
    try:
        mlflow.set_experiment(model.name)
        with mlflow.start_run(tags={key: text for key, text in tags.items() if len(text) <= _LONGEST_RUN_TAG}) as run:
            mlflow.log_params(dict(parameters))
            mlflow.log_metrics(dict(metrics))
            source = _log(exported)
        step("model logged")
        if isinstance(exported, bytes):  # no MLmodel file lies there, and a server asks whose run it is
            version = _create_version(model.name, source, run.info.run_id, tags)
        else:
            version = mlflow.register_model(source, model.name, tags=tags)
        step("version registered")
    except (MlflowException, RequestException) as error:
        raise RegistryError(f"MLflow did not take the new version of {model.name}: {error}") from error
    return Registered(str(version.version), run.info.run_id, run.info.experiment_id)


def _create_version(name: str, source: str, run_id: str, tags: Mapping[str, str]) -> ModelVersion:
    client = mlflow.MlflowClient()
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return client.create_model_version(name, source, run_id=run_id, tags=dict(tags))


def _log(exported: Exported) -> str:
    """Log a model in the run that is under way, and return its URI."""
    if isinstance(exported, bytes):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / PYFUNC_FILE
            path.write_bytes(exported)
            mlflow.log_artifact(str(path), "model")
        return str(mlflow.get_artifact_uri("model"))
    logged = mlflow.onnx.log_model(
        exported,
        name="model",
        signature=_signature(exported),
        pip_requirements=["onnxruntime"],
        save_as_external_data=False,  # one file holds all of the model
    )
    return str(logged.model_uri)


def digest_of(exported: Exported) -> str:
    """Return the SHA-256 of a model's file, which a version's tag MODEL_SHA256 holds."""
    content = exported if isinstance(exported, bytes) else exported.SerializeToString()
    return hashlib.sha256(content).hexdigest()


def _signature(exported: onnx.ModelProto) -> ModelSignature:
    return ModelSignature(inputs=Schema([_tensor(node) for node in exported.graph.input]))


def _tensor(node: onnx.ValueInfoProto) -> TensorSpec:
    kind = node.type.tensor_type
    shape = [one.dim_value if one.HasField("dim_value") else -1 for one in kind.shape.dim]
    return TensorSpec(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)), (-1, *shape[1:]), node.name)


def promote(name: str, version: str, former: str | None) -> None:
    """Move the alias `champion` to a version, and `previous` to the one that it leaves.

    Raise RegistryError if the champion is no longer `former`, against which the version was held. It may be the version
    itself: a promotion that has not ended is done once more.
    """
    client = mlflow.MlflowClient()
    if (serving := version_of(name, CHAMPION)) not in {former, version}:
        raise RegistryError(
            f"version {version} of {name} is not promoted: {_named(serving)} is champion now, not {_named(former)}, as "
            "when this run began. What moved the alias counts; run it again for a decision about the present champion"
        )
    try:
        client.set_model_version_tag(name, version, "promoted_at", datetime.now(UTC).isoformat())
        if former is not None and former != version:
            client.set_registered_model_alias(name, PREVIOUS, former)
        step("previous alias moved")
        _agree_on_change(client, name, version)
        client.set_registered_model_alias(name, CHAMPION, version)
        step("champion moved")
    except MlflowException as error:
        raise RegistryError(f"version {version} of {name} cannot be promoted: {error}") from error


def _named(version: str | None) -> str:
    return "none" if version is None else f"version {version}"


def _agree_on_change(client: mlflow.MlflowClient, name: str, version: str) -> None:
    """Tell all who follow the alias at which moment they serve the version, so that they do it together."""
    moment = datetime.now(UTC) + timedelta(seconds=LEAD_SECONDS)
    client.set_model_version_tag(name, version, SERVES_FROM, moment.isoformat())


def tag_acceptance(name: str, version: str, because: str) -> None:
    """Tag the champion with the reason why it stays although the data changed."""
    client = mlflow.MlflowClient()
    try:
        client.set_model_version_tag(name, version, "accepted_because", because)
        client.set_model_version_tag(name, version, "accepted_at", datetime.now(UTC).isoformat())
        step("acceptance tagged")
    except MlflowException as error:
        raise RegistryError(f"version {version} of {name} cannot be tagged: {error}") from error


def tags_of(name: str, version: str) -> dict[str, str]:
    """Return a version's tags; none for a version that does not exist."""
    try:
        return dict(mlflow.MlflowClient().get_model_version(name, version).tags)
    except MlflowException as error:
        if error.error_code in _ABSENT:
            return {}
        raise RegistryError(f"the tags of {name} version {version} cannot be read: {error}") from error


def demote(name: str, version: str, successor: str, because: str) -> None:
    """Tag a version with the reason of its rollback, and move the alias `champion` from it to its successor.

    `previous` moves there first: where both aliases name one version there is no target of a second rollback.
    """
    client = mlflow.MlflowClient()
    try:
        client.set_model_version_tag(name, version, "rolled_back_because", because)
        client.set_model_version_tag(name, version, "rolled_back_at", datetime.now(UTC).isoformat())
        client.set_registered_model_alias(name, PREVIOUS, successor)
        step("previous alias moved")
        _agree_on_change(client, name, successor)
        client.set_registered_model_alias(name, CHAMPION, successor)
        step("champion moved")
    except MlflowException as error:
        raise RegistryError(f"{name} cannot go back to version {successor}: {error}") from error


def remove_previous(name: str) -> None:
    """Remove the alias `previous`: a promotion is rolled back once."""
    try:
        mlflow.MlflowClient().delete_registered_model_alias(name, PREVIOUS)
    except MlflowException as error:
        raise RegistryError(f"the alias {PREVIOUS} of {name} cannot be removed: {error}") from error


def challenge(name: str, version: str) -> None:
    """Move the alias `challenger` to a version: from here on it is on trial."""
    try:
        mlflow.MlflowClient().set_registered_model_alias(name, CHALLENGER, version)
        step("challenger set")
    except MlflowException as error:
        raise RegistryError(f"version {version} of {name} cannot be put on trial: {error}") from error


def withdraw(name: str, version: str, because: str) -> None:
    """Remove the alias `challenger`, and tag the version that is on trial no longer with the reason."""
    client = mlflow.MlflowClient()
    try:
        client.set_model_version_tag(name, version, "trial_ended_because", because)
        client.set_model_version_tag(name, version, "trial_ended_at", datetime.now(UTC).isoformat())
        client.delete_registered_model_alias(name, CHALLENGER)
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise RegistryError(f"the trial of version {version} of {name} cannot be ended: {error}") from error
