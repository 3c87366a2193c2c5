"""The endpoints."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from flask import Response, request
from prometheus_client import CONTENT_TYPE_LATEST

from api import openapi
from api.access import require_scope
from api.challenger import Challenger
from api.cloud_events import STRUCTURED, parse_event
from api.feedback import take_labels
from api.fleet import Fleet
from api.joined_events import take_event
from api.json_body import require_plain
from api.log.own_ids import new_id
from api.logged_rows import take_rows
from api.model import ServedModel
from api.problems import Problem, unprocessable
from api.sent_rows import parse_rows
from api.service import Service
from api.tasks import TASKS
from api.validation import Instances, Target, check_target, parse_instances, parse_labels
from monitoring.contract.config import Model
from monitoring.contract.onnx.answers import Given, Predicted
from monitoring.contract.onnx.names import listed
from monitoring.contract.schemas import Row, prediction_row

MAX_UPLOAD_BYTES = 25_000_000
_RETRY_SECONDS = 5


@dataclass(frozen=True)
class Rule:
    """One endpoint: `process` answers at its path, `model` below `/models/<name>`.

    Without `process` the path is the first model's.
    """

    method: str
    path: str
    name: str
    summary: str
    process: Callable[[Fleet], Response] | None = None
    model: Callable[[Service], Response] | None = None
    scope: str | None = None  # that a key must have


def predict(service: Service) -> Response:
    """Predict one row, many, or an audio clip; the answer is sent after its rows are in the log."""
    served = _served(service)
    instances = _read_instances(service)
    _require_labelling(instances.targets)
    predicted, probabilities = served.onnx.predict(served.onnx.rows(instances.values))
    _require_answers(served, instances, predicted)
    predictions, rows = _predictions(service, served, instances, (predicted, probabilities))
    answer = _json(predictions[0] if instances.single else {"predictions": predictions})
    service.predictions.append(rows)
    if service.challenger is not None:
        service.challenger.ask(rows, instances.values)
    service.metrics.predicted(predicted.tolist())
    return answer


def _require_labelling(targets: Sequence[Target]) -> None:
    """Raise the 403 of rows that bring their labels, from a key that may not label."""
    if any(target is not None for target in targets):
        require_scope("feedback", "a row with its label")


def _require_answers(served: ServedModel, instances: Instances, predicted: Predicted) -> None:
    """Raise the Problem that names the first row that the model has no answer for, and why."""
    present = served.onnx.answered(predicted)
    if present.all():
        return
    row = int(present.argmin())
    field = "features" if instances.single else f"instances[{row}]"
    if missing := served.onnx.missing_from(instances.values[row]):
        raise unprocessable("no_finite_answer", field, f"this model has no answer without a value of {listed(missing)}")
    if unheld := served.onnx.unheld_from(instances.values[row]):
        raise unprocessable(
            "no_finite_answer", field, f"this model takes whole numbers alone as levels or values of {listed(unheld)}"
        )
    raise unprocessable(
        "no_finite_answer", field, "the model has no finite answer for these values: one is too far out, or not whole"
    )


def _predictions(
    service: Service, served: ServedModel, instances: Instances, found: tuple[Predicted, Given]
) -> tuple[list[dict[str, Any]], list[Row]]:
    """Return the answers and the log's rows."""
    version, now = served.release.version, service.clock.now()
    model = service.config.model
    task = TASKS[model.task]
    answers = task.answers(model, served.categories, *found)
    predictions, rows = [], []
    for values, target, (prediction, confidence, fields) in zip(
        instances.values, instances.targets, answers, strict=True
    ):
        prediction_id = new_id(now)
        rows.append(
            prediction_row(
                prediction_id=prediction_id,
                timestamp=now,
                features=values,
                prediction=prediction,
                confidence=confidence,
                model_version=version,
                target=target,
                probabilities=task.logged(model, fields),
            )
        )
        predictions.append({"prediction_id": prediction_id, **fields, "model_version": version})
    return predictions, rows


def _served(service: Service) -> ServedModel:
    served = service.follower.serving()
    if served is None:
        why = service.follower.error or "the registry has not been asked yet"
        raise Problem(503, "no_model", f"no model is loaded yet: {why}", retry_after=_RETRY_SECONDS)
    return served


def _read_instances(service: Service) -> Instances:
    require_plain(request.headers.get("Content-Encoding"))
    if request.mimetype == "application/json":
        return parse_instances(request.get_data(cache=False), service.config.model)
    if request.mimetype == "multipart/form-data" and service.extractor is not None:
        return _read_clip(service)
    raise _unsupported("application/json" + (" or multipart/form-data" if service.extractor else ""))


def _unsupported(allowed: str) -> Problem:
    return Problem(
        415, "content_type", f"Content-Type must be {allowed}, not {request.mimetype or 'absent'}", field="Content-Type"
    )


def _read_clip(service: Service) -> Instances:
    assert service.extractor is not None
    model = service.config.model
    request.max_content_length = MAX_UPLOAD_BYTES
    for key in (*request.files, *request.form):
        if key not in ("file", model.target):
            raise unprocessable("unknown_field", key, f"has no place here; allowed are file, {model.target}")
    clips = request.files.getlist("file")
    if len(clips) != 1:
        found = "is missing" if not clips else f"stands {len(clips)} times"
        raise unprocessable("missing_field", "file", f"{found}; send one clip, like curl -F file=@clip.wav")
    target = check_target(_form_label(request.form.get(model.target), model), model, model.target)
    return Instances([[*service.extractor.features(clips[0].stream)]], [target], single=True)


def _form_label(text: str | None, model: Model) -> Any:
    """Return a label of a form, where all is text."""
    return None if text is None else TASKS[model.task].label_of_text(text)


def feedback(service: Service) -> Response:
    """Take labels that arrive after their predictions, and tell of each what became of it."""
    require_plain(request.headers.get("Content-Encoding"))
    if request.mimetype != "application/json":
        raise _unsupported("application/json")
    answer = take_labels(service, parse_labels(request.get_data(cache=False), service.config.model))
    return Response(json.dumps(answer), mimetype="application/json")  # an id as sent may be what orjson cannot write


def log(service: Service) -> Response:
    """Log predictions that another service made, and tell of each row what became of it."""
    require_plain(request.headers.get("Content-Encoding"))
    if request.mimetype != "application/json":
        raise _unsupported("application/json")
    rows = parse_rows(request.get_data(cache=False), service.config.model)
    _require_labelling([row.target for row in rows])
    return _json(take_rows(service, rows))


def cloudevents(service: Service) -> Response:
    """Log what a model server was asked and answered, when both have come; 202 says that one waits for the other."""
    require_plain(request.headers.get("Content-Encoding"))
    if request.mimetype not in ("application/json", STRUCTURED):
        raise _unsupported(f"application/json or {STRUCTURED}")
    event = parse_event(request.headers, request.mimetype, request.get_data(cache=False), service.config.model)
    answer = take_event(service, event)
    return _json(answer) if answer is not None else Response(b'{"status":"waiting"}', 202, mimetype="application/json")


def health(_fleet: Fleet) -> Response:
    """Say that the process lives."""
    return _json({"status": "alive"})


def ready(fleet: Fleet) -> Response:
    """Say whether models are loaded, their logs writable and their audio paths warm; of many, one is enough.

    A container that was taken out of service for one of its models would take the others along.
    """
    if not fleet.many:
        with fleet.used(fleet.first) as service:
            return ready_model(service)
    services = fleet.services
    unready = {name: why for name, service in services.items() if (why := service.unready())}
    if len(unready) == len(services):
        why = "; ".join(f"{name}: {reason}" for name, reason in (unready | fleet.faults).items())
        raise Problem(503, "not_ready", why or "the folder of config files is empty", retry_after=_RETRY_SECONDS)
    return _json({"status": "ready", "not_ready": unready | fleet.faults})


def ready_model(service: Service) -> Response:
    """Say whether a model is loaded, its log writable and its audio path warm."""
    if why := service.unready():
        raise Problem(503, "not_ready", why, retry_after=_RETRY_SECONDS)
    return _json({"status": "ready"})


def models(fleet: Fleet) -> Response:
    """List the models that are served, the one first that paths without a name mean, and files that give none."""
    told = {name: service.follower.serving() for name, service in fleet.services.items()}
    return _json(
        {
            "models": [
                {"name": name, "version": served and served.release.version, "path": f"/models/{name}"}
                for name, served in told.items()
            ],
            "first": fleet.first or None,
            "faults": fleet.faults,
        }
    )


def model(service: Service) -> Response:
    """Describe the champion that this worker serves."""
    served, config = _served(service), service.config.model
    return _json(
        {
            "name": config.name,
            "task": config.task,
            "version": served.release.version,
            "served_by": served.onnx.kind,
            "features": config.features,
            "kinds": {feature: config.kind(feature).name for feature in config.features},
            "categories": served.categories,
            "loaded_at": served.loaded_at,
            "source": served.source,
            "last_poll_error": service.follower.error,
            **({} if service.challenger is None else {"challenger": _on_trial(service.challenger)}),
        }
    )


def _on_trial(challenger: Challenger) -> dict[str, Any]:
    served = challenger.serving()
    return {"version": served and served.release.version, "rollout": "shadow", "last_error": challenger.error}


def metrics(fleet: Fleet) -> Response:
    """Return the metrics of all workers."""
    return Response(fleet.render(), content_type=CONTENT_TYPE_LATEST)


def describe(service: Service) -> Response:
    """Return the OpenAPI description, made from the config; of a model that was asked for by name, its own paths."""
    described = openapi.describe(service.config.model, secured=service.keys is not None)
    if request.view_args:
        of_models = {rule.path for rule in RULES if rule.model}
        named = f"/models/{service.config.model.name}"
        described["paths"] = {named + path: what for path, what in described["paths"].items() if path in of_models}
    return _json(described)


def index(fleet: Fleet) -> Response:
    """List the endpoints."""
    endpoints = {f"{rule.method} {rule.path}": rule.summary for rule in RULES}
    for rule in RULES:
        if rule.model is not None:
            endpoints[f"{rule.method} /models/NAME{rule.path}"] = f"{rule.name} of the model NAME"
    return _json({"service": f"predictions of {', '.join(fleet.services) or 'no model yet'}", "endpoints": endpoints})


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), mimetype="application/json")


RULES = (
    Rule("GET", "/", "index", "this list", process=index),
    Rule("POST", "/predict", "predict", "predict one row, a batch, or an audio clip", model=predict, scope="predict"),
    Rule("POST", "/log", "log", "log predictions that another service made", model=log, scope="log"),
    Rule(
        "POST", "/log/cloudevents", "cloudevents", "the same, as KServe and Seldon tell them", None, cloudevents, "log"
    ),
    Rule("POST", "/feedback", "feedback", "labels that arrive later", model=feedback, scope="feedback"),
    Rule("GET", "/health", "health", "the process lives", process=health),
    Rule(
        "GET",
        "/ready",
        "ready",
        "a model is loaded, the log is writable, and audio, if configured, is warm",
        process=ready,
        model=ready_model,
    ),
    Rule("GET", "/model", "model", "the version that serves", model=model),
    Rule("GET", "/models", "models", "the models that are served", process=models),
    Rule("GET", "/metrics", "metrics", "Prometheus metrics", process=metrics),
    Rule("GET", "/openapi.json", "openapi", "this API in OpenAPI 3.1", model=describe),
)
