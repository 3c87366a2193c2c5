"""The schemas that the API's description names."""

from typing import Any

from api.audio import MAX_SECONDS
from api.validation import MAX_INSTANCES
from monitoring.contract.config import Model

Schema = dict[str, Any]

_LARGEST = {"float32": 3.4028234663852886e38, "float64": 1.7976931348623157e308}


def ref(name: str) -> Schema:
    """Refer to one of the named schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def closed_object(properties: Schema, required: list[str], **more: Any) -> Schema:
    """Describe an object that has no other properties."""
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False, **more}


def schemas_of(model: Model) -> Schema:
    """Return the named schemas for this model."""
    category = {"type": "string", "enum": list(model.categories)}
    known = {"oneOf": [category, {"type": "null"}], "description": f"the {model.label}, where it is known already"}
    number = {
        "type": ["number", "null"],
        "minimum": -_LARGEST[model.dtype],
        "maximum": _LARGEST[model.dtype],
        "description": f"a finite {model.dtype}; null or absent is a missing value",
    }
    values: Schema = dict.fromkeys(model.features, number)
    prediction = {
        "prediction_id": {"type": "string", "format": "uuid"},
        model.label: category,
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "probabilities": closed_object({name: {"type": "number"} for name in model.categories}, []),
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
            {"prediction_id": {"type": "string", "format": "uuid"}, model.target: category},
            ["prediction_id", model.target],
        ),
        "Model": _model_schema(model),
        "Problem": _problem_schema(),
    }
    return named | ({"Clip": _clip(known, model.target)} if model.audio else {})


def _model_schema(model: Model) -> Schema:
    text, texts = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    properties = {
        "name": {"const": model.name},
        "version": text,
        "features": texts,
        "categories": texts,
        "loaded_at": {"type": "string", "format": "date-time"},
        "source": text,
        "last_poll_error": {"type": ["string", "null"]},
    }
    return closed_object(properties, list(properties))


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
