"""The schemas that the API's description names."""

from typing import Any

from api.audio import MAX_SECONDS
from api.cloud_events import TYPES
from api.kinds import KINDS, Schema
from api.metrics import LABEL_OUTCOMES, ROW_OUTCOMES
from api.sent_rows import text_schema, time_schema
from api.tasks import TASKS
from api.validation import MAX_INSTANCES
from monitoring.contract.config import Model


def ref(name: str) -> Schema:
    """Refer to one of the named schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def closed_object(properties: Schema, required: list[str], **more: Any) -> Schema:
    """Describe an object that has no other properties."""
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False, **more}


def schemas_of(model: Model) -> Schema:
    """Return the named schemas for this model."""
    task = TASKS[model.task]
    label = task.label_schema(model)
    called = model.label or model.target
    known = {"oneOf": [label, {"type": "null"}], "description": f"the {called}, where it is known already"}
    values: Schema = {name: KINDS[model.kind(name).name].schema(model.dtype) for name in model.features}
    prediction = {
        "prediction_id": {"type": "string", "format": "uuid"},
        **task.answer_schema(model),
        "model_version": {"type": "string"},
    }
    instance = closed_object({"features": ref("Features"), model.target: known}, ["features"])
    flat = closed_object({**values, model.target: known}, [], minProperties=1)
    named = {
        "Features": closed_object(values, [], minProperties=1, description="at least one has a value"),
        "Instance": instance,
        "Batch": closed_object(
            {
                "instances": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MAX_INSTANCES,
                    "items": {"oneOf": [ref("Instance"), flat]},
                    "description": "each is the body of a single prediction, or the features themselves",
                }
            },
            ["instances"],
        ),
        "Prediction": closed_object(prediction, list(prediction)),
        "Predictions": closed_object({"predictions": {"type": "array", "items": ref("Prediction")}}, ["predictions"]),
        "Label": closed_object(
            {"prediction_id": {"type": "string"}, model.target: label},
            ["prediction_id", model.target],
        ),
        "Rows": _rows_schema(model, known),
        "Logged": _logged_schema(),
        "Event": _event_schema(),
        "Labelled": _labelled_schema(),
        "Model": _model_schema(model),
        "Problem": _problem_schema(),
    }
    return named | ({"Clip": _clip(known, model.target)} if model.audio else {})


def _rows_schema(model: Model, known: Schema) -> Schema:
    task = TASKS[model.task]
    row = {
        "features": ref("Features"),
        model.prediction: task.label_schema(model),
        "prediction_id": text_schema("the id that labels will name; made where it is null or absent"),
        "timestamp": time_schema(),
        "confidence": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        "model_version": {**text_schema("which model answered"), "type": ["string", "integer", "null"]},
        model.target: known,
        **task.sent_schema(model),
    }
    rows = {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_INSTANCES,
        "items": closed_object(row, ["features", model.prediction]),
    }
    return closed_object({"rows": rows}, ["rows"])


def _logged_schema() -> Schema:
    result = closed_object(
        {
            "prediction_id": {"type": "string", "description": "as it is logged"},
            "status": {
                "enum": list(ROW_OUTCOMES),
                "description": "logged: the row is new; known: there is a row of this id, and nothing was logged",
            },
            "field": {"type": "string"},
            "detail": {"type": "string", "description": "what is logged otherwise than it was sent"},
        },
        ["prediction_id", "status"],
    )
    counts: Schema = {name: {"type": "integer", "minimum": 0} for name in ROW_OUTCOMES}
    results = {"type": "array", "items": result, "minItems": 1, "description": "in the order sent"}
    return closed_object({**counts, "results": results}, [*counts, "results"])


def _event_schema() -> Schema:
    text = {"type": "string"}
    properties = {
        "id": text,
        "type": {"enum": list(TYPES)},
        "time": text,
        "requestid": text,
        "data": {"type": "object"},
    }
    return {"type": "object", "properties": properties, "required": ["id", "type", "data"]}


def _labelled_schema() -> Schema:
    meanings = (
        "accepted: the prediction had no label",
        "known: its newest label is the same; nothing was logged",
        "corrected: its newest label was another one",
        "unknown: there is no prediction of that id",
        "invalid: `field` and `detail` say what cannot be used",
    )
    result = closed_object(
        {
            "prediction_id": {"type": ["string", "null"], "description": "as sent; null where it is no text"},
            "status": {"enum": list(LABEL_OUTCOMES), "description": "; ".join(meanings)},
            "field": {"type": "string"},
            "detail": {"type": "string"},
        },
        ["prediction_id", "status"],
    )
    counts: Schema = {name: {"type": "integer", "minimum": 0} for name in LABEL_OUTCOMES}
    results = {"type": "array", "items": result, "minItems": 1, "description": "in the order sent"}
    return closed_object({**counts, "results": results}, [*counts, "results"])


def _model_schema(model: Model) -> Schema:
    text, texts = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    properties = {
        "name": {"const": model.name},
        "task": {"const": model.task},
        "version": text,
        "features": texts,
        "kinds": {"type": "object", "additionalProperties": {"enum": list(KINDS)}},
        "categories": texts,
        "loaded_at": {"type": "string", "format": "date-time"},
        "source": text,
        "served_by": {"enum": ["onnx", "pyfunc"]},
        "last_poll_error": {"type": ["string", "null"]},
    }
    on_trial = {
        "version": {"type": ["string", "null"]},
        "rollout": {"const": "shadow"},
        "last_error": {"type": ["string", "null"]},
    }
    challenger = closed_object(on_trial, list(on_trial)) | {"description": "only with retrain.rollout: shadow"}
    return closed_object({**properties, "challenger": challenger}, list(properties))


def _clip(known: Schema, target: str) -> Schema:
    clip = {
        "type": "string",
        "contentMediaType": "audio/*",
        "description": "WAV, FLAC, OGG or MP3, at most 25 MB; of a clip longer than "
        f"{MAX_SECONDS} seconds the first {MAX_SECONDS} are taken; a silent clip is refused",
    }
    return closed_object({"file": clip, target: known}, ["file"])


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
    return closed_object(properties, ["type", "title", "status", "detail", "reason"])
