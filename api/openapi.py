"""The API's OpenAPI 3.1 description, made from the config."""

from api.kinds import Schema
from api.openapi_schemas import closed_object, ref, schemas_of
from api.tasks import TASKS
from api.validation import MAX_LABELS
from monitoring.contract.config import Model

_REASONS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}


def describe(model: Model, *, secured: bool = False) -> Schema:
    """Describe every endpoint for this model; `secured` where writing takes the API key."""
    description: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": f"{model.name} predictions",
            "version": "1",
            "description": "Every prediction answered with 200 is in the prediction log. "
            "Errors are RFC 9457 problems; `field` names what cannot be used, `reason` is a constant word.",
        },
        "paths": {
            "/predict": {"post": _predict(model)},
            "/log": {"post": _log()},
            "/log/cloudevents": {"post": _cloudevents()},
            "/feedback": {"post": _feedback()},
            "/health": _get("health", "The process lives", _status("alive")),
            "/ready": _get("ready", "A model is loaded, the log is writable and the audio path is warm", _ready(), 503),
            "/model": _get("model", "The version that serves", ref("Model"), 503),
            "/models": _get("models", "The models that are served", _models()),
            "/metrics": {
                "get": {
                    "operationId": "metrics",
                    "summary": "Metrics of all workers",
                    "responses": {
                        "200": {"description": "Prometheus text", "content": {"text/plain": {"schema": {}}}},
                        **_problem(429),
                    },
                }
            },
            "/openapi.json": _get("describe", "This description", {"type": "object"}),
        },
        "components": {"schemas": schemas_of(model)},
    }
    return _secured(description) if secured else _open(description)


def _secured(description: Schema) -> Schema:
    """Let every endpoint that writes ask for the key."""
    for path in description["paths"].values():
        if "post" in path:
            path["post"]["security"] = [{"key": []}]
            path["post"]["responses"] |= _problem(401, 403)
    scheme = {"type": "http", "scheme": "bearer", "description": "an API key, as a bearer token"}
    description["components"]["securitySchemes"] = {"key": scheme}
    return description


def _open(description: Schema) -> Schema:
    """Let no endpoint that writes be used by pages of other sites."""
    for path in description["paths"].values():
        if "post" in path:
            path["post"]["responses"] |= _problem(403)
    return description


def _get(name: str, summary: str, answer: Schema, *problems: int) -> Schema:
    responses = {"200": {"description": summary, "content": {"application/json": {"schema": answer}}}}
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "responses": _merged(responses, _problem(429, *problems)),
        }
    }


def _status(word: str) -> Schema:
    return closed_object({"status": {"const": word}}, ["status"])


def _ready() -> Schema:
    """Describe who is ready; of many models, which ones are not."""
    return closed_object({"status": {"const": "ready"}, "not_ready": _REASONS}, ["status"])


def _models() -> Schema:
    model = {"name": {"type": "string"}, "version": {"type": ["string", "null"]}, "path": {"type": "string"}}
    models = {"type": "array", "items": closed_object(model, [*model])}
    described = {"models": models, "first": {"type": ["string", "null"]}, "faults": _REASONS}
    return closed_object(described, [*described])


def _merged(*parts: dict[str, Schema]) -> dict[str, Schema]:
    return {key: value for part in parts for key, value in part.items()}


def _problem(*statuses: int) -> dict[str, Schema]:
    meaning = {
        400: "The body is not JSON",
        401: "The API key is missing or wrong",
        403: "The key has not the scope that this takes; without keys, a page of another site sends this",
        404: "There is no prediction of that id, or of any id of the list",
        408: "The request did not come in time",
        413: "The body, the batch or the clip is too large",
        415: "The body is neither of the types above",
        422: "A field cannot be used; the problem names it",
        429: "Too many requests from one address, where a proxy counts them; try again after Retry-After seconds",
        503: "No model yet, no room in the log, or too many requests; try again after Retry-After seconds",
    }
    content = {"application/problem+json": {"schema": ref("Problem")}}
    return {str(status): {"description": meaning[status], "content": content} for status in statuses}


def _predict(model: Model) -> Schema:
    content: Schema = {"application/json": {"schema": {"oneOf": [ref("Instance"), ref("Batch")]}}}
    if model.audio:
        content["multipart/form-data"] = {"schema": ref("Clip")}
    answer = {"oneOf": [ref("Prediction"), ref("Predictions")]}
    return {
        "operationId": "predict",
        "summary": "Predict one row, a batch, or an audio clip",
        "requestBody": {"required": True, "content": content},
        "responses": _merged(
            {
                "200": {
                    "description": "Predicted and logged",
                    "content": {"application/json": {"schema": answer}},
                    "links": {"label": _label_link(model)},
                }
            },
            _problem(400, 408, 413, 415, 422, 429, 503),
        ),
    }


def _label_link(model: Model) -> Schema:
    label = {"prediction_id": "$response.body#/prediction_id", model.target: TASKS[model.task].label_example(model)}
    return {"operationId": "feedback", "requestBody": label, "description": "the label that the prediction waits for"}


def _log() -> Schema:
    return {
        "operationId": "log",
        "summary": "Predictions that another service made; each is answered for itself",
        "description": "All rows are taken, or none. An id is logged once: sending the same request again changes "
        "nothing, nor does another row of a known id. A row whose time is later than this clock is dated now.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": ref("Rows")}}},
        "responses": _merged(
            {
                "200": {
                    "description": "All rows are in the log",
                    "content": {"application/json": {"schema": ref("Logged")}},
                }
            },
            _problem(400, 408, 413, 415, 422, 429, 503),
        ),
    }


def _cloudevents() -> Schema:
    logged = {"description": "Both halves have come; their rows are in the log", "content": _json(ref("Logged"))}
    waiting = {"description": "The event waits for its other half", "content": _json(_status("waiting"))}
    return {
        "operationId": "cloudevents",
        "summary": "What a model server was asked and answered, as KServe and Seldon tell it",
        "description": "CloudEvents in binary mode (headers ce-id, ce-type and ce-time) or structured. Data is JSON of "
        "the open inference protocol (inputs, outputs), or instances and predictions. Request and response have the "
        "same id, or the same extension requestid, and may come in any order, to any worker.",
        "requestBody": {
            "required": True,
            "content": {**_json({"type": "object"}), "application/cloudevents+json": {"schema": ref("Event")}},
        },
        "responses": _merged({"200": logged, "202": waiting}, _problem(400, 408, 413, 415, 422, 429, 503)),
    }


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _feedback() -> Schema:
    labels = {"type": "array", "items": ref("Label"), "minItems": 1, "maxItems": MAX_LABELS}
    return {
        "operationId": "feedback",
        "summary": "Labels that arrive later; each is answered for itself",
        "description": "The newest label of a prediction counts, also before one that came with the row. Sending the "
        "same request again changes nothing. A UUID is the same in capitals and small letters. Where no label of the "
        "request is of use, nothing was taken and the answer is 422 if one cannot be read, else 404.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"oneOf": [ref("Label"), labels]}}},
        },
        "responses": _merged(
            {
                "200": {
                    "description": "At least one label is of use; those that are new, or correct another, are logged",
                    "content": {"application/json": {"schema": ref("Labelled")}},
                }
            },
            _problem(400, 404, 408, 413, 415, 422, 429, 503),
        ),
    }
