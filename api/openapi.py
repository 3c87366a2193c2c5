"""The API's OpenAPI 3.1 description, made from the config."""

from typing import Any

from api.audio import MAX_SECONDS
from api.validation import MAX_INSTANCES, MAX_LABELS
from monitoring.schema import Model

Schema = dict[str, Any]


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
            "/feedback": {"post": _feedback()},
            "/health": _get("The process lives"),
            "/ready": _get("A model is loaded, the log is writable and the audio path is warm", _problem(503)),
            "/model": _get("The version that serves", _problem(503)),
            "/metrics": {
                "get": {
                    "summary": "Metrics of all workers",
                    "responses": {
                        "200": {"description": "Prometheus text", "content": {"text/plain": {"schema": {}}}},
                    },
                }
            },
            "/openapi.json": _get("This description"),
        },
        "components": {"schemas": _schemas(model)},
    }
    return _secured(description) if secured else description


def _secured(description: Schema) -> Schema:
    """Let every endpoint that writes ask for the key."""
    for path in description["paths"].values():
        if "post" in path:
            path["post"]["security"] = [{"key": []}]
            path["post"]["responses"] |= _problem(401)
    scheme = {"type": "http", "scheme": "bearer", "description": "the API key, as a bearer token"}
    description["components"]["securitySchemes"] = {"key": scheme}
    return description


def _get(summary: str, *problems: dict[str, Schema]) -> Schema:
    responses = {"200": {"description": summary, "content": {"application/json": {"schema": {"type": "object"}}}}}
    return {"get": {"summary": summary, "responses": _merged(responses, *problems)}}


def _merged(*parts: dict[str, Schema]) -> dict[str, Schema]:
    return {key: value for part in parts for key, value in part.items()}


def _problem(*statuses: int) -> dict[str, Schema]:
    meaning = {
        400: "The body is not JSON",
        401: "The API key is missing or wrong",
        404: "There is no prediction of that id",
        409: "A prediction of the list has a label already; nothing of the list was taken",
        413: "The body, the batch or the clip is too large",
        415: "The body is neither of the types above",
        422: "A field cannot be used; the problem names it",
        503: "No model yet, or the log cannot be written; try again after Retry-After seconds",
    }
    content = {"application/problem+json": {"schema": _ref("Problem")}}
    return {str(status): {"description": meaning[status], "content": content} for status in statuses}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _predict(model: Model) -> Schema:
    content: Schema = {"application/json": {"schema": {"oneOf": [_ref("Instance"), _ref("Batch")]}}}
    if model.audio:
        content["multipart/form-data"] = {"schema": _ref("Clip")}
    answer = {"oneOf": [_ref("Prediction"), _ref("Predictions")]}
    return {
        "summary": "Predict one row, a batch, or an audio clip",
        "requestBody": {"required": True, "content": content},
        "responses": _merged(
            {"200": {"description": "Predicted and logged", "content": {"application/json": {"schema": answer}}}},
            _problem(400, 413, 415, 422, 503),
        ),
    }


def _feedback() -> Schema:
    labels = {"type": "array", "items": _ref("Label"), "minItems": 1, "maxItems": MAX_LABELS}
    accepted = {"type": "object", "properties": {"accepted": {"type": "integer"}}}
    return {
        "summary": "Labels that arrive later: all of a request are taken, or none",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"oneOf": [_ref("Label"), labels]}}},
        },
        "responses": _merged(
            {"200": {"description": "Logged", "content": {"application/json": {"schema": accepted}}}},
            _problem(400, 404, 409, 413, 415, 422, 503),
        ),
    }


def _object(properties: Schema, required: list[str], **more: Any) -> Schema:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False, **more}


def _schemas(model: Model) -> Schema:
    category = {"type": "string", "enum": list(model.categories)}
    known = {"oneOf": [category, {"type": "null"}], "description": f"the {model.label}, where it is known already"}
    number = {"type": ["number", "null"], "description": "a finite float32; null or absent is a missing value"}
    values: Schema = dict.fromkeys(model.features, number)
    prediction = {
        "prediction_id": {"type": "string", "format": "uuid"},
        model.label: category,
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "probabilities": _object({name: {"type": "number"} for name in model.categories}, []),
        "model_version": {"type": "string"},
    }
    instance = _object({"features": _ref("Features"), model.target: known}, ["features"])
    flat = _object({**values, model.target: known}, [], minProperties=1)
    schemas = {
        "Features": _object(values, [], minProperties=1, description="at least one has a value"),
        "Instance": instance,
        "Batch": _object(
            {
                "instances": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MAX_INSTANCES,
                    "items": {"oneOf": [_ref("Instance"), flat]},
                    "description": "each is the body of a single prediction, or the features themselves",
                }
            },
            ["instances"],
        ),
        "Prediction": _object(prediction, list(prediction)),
        "Predictions": _object({"predictions": {"type": "array", "items": _ref("Prediction")}}, ["predictions"]),
        "Label": _object(
            {"prediction_id": {"type": "string", "format": "uuid"}, model.target: category},
            ["prediction_id", model.target],
        ),
        "Problem": _problem_schema(),
    }
    return schemas | ({"Clip": _clip(known, model.target)} if model.audio else {})


def _clip(known: Schema, target: str) -> Schema:
    clip = {
        "type": "string",
        "contentMediaType": "audio/*",
        "description": "WAV, FLAC, OGG or MP3, at most 25 MB; of a clip longer than "
        f"{MAX_SECONDS} seconds the first {MAX_SECONDS} are taken; a silent clip is refused",
    }
    return _object({"file": clip, target: known}, ["file"])


def _problem_schema() -> Schema:
    text = {"type": "string"}
    properties = {
        "type": text,
        "title": text,
        "status": {"type": "integer"},
        "detail": text,
        "reason": text,
        "field": text,
    }
    return {"type": "object", "properties": properties, "required": ["type", "title", "status", "detail", "reason"]}
