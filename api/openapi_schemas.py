"""The schemas that the API's description names."""

import re
from typing import Any

from api.audio import MAX_SECONDS
from api.metrics import LABEL_OUTCOMES
from api.validation import MAX_INSTANCES
from monitoring.contract.categories import category_text
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
    label = _label(model)
    known = {"oneOf": [label, {"type": "null"}], "description": f"the {model.label}, where it is known already"}
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
            {"prediction_id": {"type": "string", "format": "uuid"}, model.target: label},
            ["prediction_id", model.target],
        ),
        "Labelled": _labelled_schema(),
        "Model": _model_schema(model),
        "Problem": _problem_schema(),
    }
    return named | ({"Clip": _clip(known, model.target)} if model.audio else {})


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


def _label(model: Model) -> Schema:
    """Describe a label: a category, or the number or the boolean that is called so."""
    bare = [_bare(name) for name in model.categories]
    return {"enum": [*model.categories, *(value for value in bare if value is not None)]}


def _bare(category: str) -> int | bool | None:
    for value in (True, False):
        if category_text(value) == category:
            return value
    number = int(category) if re.fullmatch("-?[0-9]{1,18}", category) else None
    return number if number is not None and category_text(number) == category else None


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
