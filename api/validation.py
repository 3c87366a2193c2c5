"""From a request's body to rows of numbers; what does not fit is refused by a problem that names the field."""

import contextlib
from dataclasses import dataclass
from typing import Any

from api.json_body import count_strings, parse_json, require_each_once
from api.problems import Problem, shown, unprocessable
from monitoring.contract.categories import category_text
from monitoring.contract.config import Model
from monitoring.contract.prediction_ids import canonical_id

MAX_INSTANCES = 100_000
MAX_LABELS = 10_000

# The smallest number that rounds to infinity in the log's type.
_TOO_LARGE = {"float32": (2 - 2**-24) * 2.0**127, "float64": 2**1024 - 2**970}
_NAMED = 5
_NOT_COUNTED = -1

Values = list[float | None]


@dataclass(frozen=True)
class Instances:
    """The rows of a prediction request: features in the config's order, and the label where it is known already."""

    values: list[Values]
    targets: list[str | None]
    single: bool


@dataclass(frozen=True)
class SentLabel:
    """A label that arrived later: the id as sent, if there is one, and as ids are compared, or why it is of no use."""

    prediction_id: str | None
    key: str
    target: str
    problem: Problem | None = None


def parse_instances(body: bytes, model: Model) -> Instances:
    """Read a prediction request's JSON body; raise the Problem that says what cannot be used."""
    _require_few(body, model)
    content = _object(parse_json(body), "body")
    if "instances" not in content:
        strings = count_strings(content, model.target)
        _require_keys(content, ("features", model.target, "instances"), "")
        values, target = _instance(content, model, "")
        require_each_once(body, strings)
        return Instances([values], [target], single=True)
    _require_keys(content, ("instances",), "")
    instances = content["instances"]
    if not isinstance(instances, list):
        raise unprocessable("not_a_list", "instances", f"must be a list of objects, not {shown(instances)}")
    if not instances:
        raise unprocessable("empty_batch", "instances", "is empty; give at least one")
    if len(instances) > MAX_INSTANCES:
        raise _too_many("instances", MAX_INSTANCES)
    strings = 1 + sum(count_strings(item, model.target) for item in instances)
    pairs = [_instance_or_features(item, model, f"instances[{i}]") for i, item in enumerate(instances)]
    require_each_once(body, strings)
    return Instances([values for values, _ in pairs], [target for _, target in pairs], single=False)


def _require_few(body: bytes, model: Model) -> None:
    """Refuse what cannot be a request of that many rows before it is built in memory."""
    names = "".join((*model.features, model.target, max(model.categories, key=len)))
    for sign, most in (("{", 2), (",", len(model.features) + 2)):  # of an instance, beside those in the names
        if body.count(sign.encode()) > (most + names.count(sign)) * MAX_INSTANCES + 1:
            raise _too_many("instances", MAX_INSTANCES)


def _too_many(field: str, limit: int) -> Problem:
    return Problem(413, "too_many_rows", f"{field}: more than {limit:,}; split them into several requests", field=field)


def _instance_or_features(item: Any, model: Model, at: str) -> tuple[Values, str | None]:
    """Read one of `instances`: the body of a single prediction, or the features themselves."""
    content = _object(item, at)
    if "features" in content and ("features" not in model.features or isinstance(content["features"], dict)):
        _require_keys(content, ("features", model.target), f"{at}.")
        return _instance(content, model, f"{at}.")
    target = check_target(content.pop(model.target, None), model, f"{at}.{model.target}")
    return _numbers(content, model, at), target


def _instance(content: dict[str, Any], model: Model, prefix: str) -> tuple[Values, str | None]:
    if "features" not in content:
        raise unprocessable(
            "missing_field", f"{prefix}features", "is missing; give the features, or `instances`, a list of them"
        )
    features = _object(content["features"], f"{prefix}features")
    target = check_target(content.get(model.target), model, f"{prefix}{model.target}")
    return _numbers(features, model, f"{prefix}features"), target


def _numbers(features: dict[str, Any], model: Model, at: str) -> Values:
    get, too_large = features.get, _TOO_LARGE[model.dtype]
    values: Values = []
    present = known = 0
    for name in model.features:
        value = get(name)
        if value is None:
            known += name in features
        elif (type(value) is float or type(value) is int) and -too_large < value < too_large:
            value = float(value)
            present += 1
        else:
            raise _not_a_number(value, f"{at}.{name}", model.dtype)
        values.append(value)
    if present + known < len(features):
        unknown = next(name for name in features if name not in model.features)
        raise unprocessable("unknown_feature", f"{at}.{unknown}", f"no such feature; there are {_listed(model)}")
    if not present:
        raise unprocessable("no_values", at, f"no feature has a value; give at least one of {_listed(model)}")
    return values


def _not_a_number(value: Any, at: str, dtype: str) -> Problem:
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value:  # noqa: PLR0124 - NaN differs
        return unprocessable("out_of_range", at, f"{shown(value)} is out of range; a feature is a finite {dtype}")
    instead = "; true and false are sent as 1 and 0" if isinstance(value, bool) else ""
    return unprocessable("not_a_number", at, f"must be a number or null, not {shown(value)}{instead}")


def _listed(model: Model) -> str:
    return ", ".join(model.features)


def _object(value: Any, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise unprocessable("not_an_object", at, f"must be an object, not {shown(value)}")
    return value


def _require_keys(content: dict[str, Any], allowed: tuple[str, ...], prefix: str) -> None:
    for key in content:
        if key not in allowed:
            raise unprocessable(
                "unknown_field", f"{prefix}{key}", f"has no place here; allowed are {', '.join(allowed)}"
            )


def check_target(value: Any, model: Model, at: str) -> str | None:
    """Return the text of a label that is one of the categories, or None if it is not given."""
    if value is None or (isinstance(value, str) and value in model.categories):
        return value
    with contextlib.suppress(ValueError):
        text = category_text(int(value) if isinstance(value, float) and value.is_integer() else value)
        if text in model.categories:
            return text
    raise unprocessable(
        "unknown_category", at, f"{shown(value)} is not a {model.label}; there are {', '.join(model.categories)}"
    )


def parse_labels(body: bytes, model: Model) -> list[SentLabel]:
    """Read a feedback request's JSON body, one label or a list of them; raise the Problem of the body as a whole."""
    content = parse_json(body)
    single = not isinstance(content, list)
    if single:
        content = [content]
    elif not content:
        raise unprocessable("empty_batch", "body", "the list is empty; give at least one label")
    elif len(content) > MAX_LABELS:
        raise _too_many("body", MAX_LABELS)
    labels = [_sent_label(item, model, "" if single else f"[{i}].") for i, item in enumerate(content)]
    readable = all(label.problem is None for label in labels)
    strings = sum(count_strings(item, "prediction_id", model.target) for item in content)
    require_each_once(body, strings if readable else _NOT_COUNTED)
    return labels


def _sent_label(item: Any, model: Model, prefix: str) -> SentLabel:
    """Read one label; what cannot be used of it is its own problem, and no other label's."""
    try:
        return _label(item, model, prefix)
    except Problem as problem:
        sent = item.get("prediction_id") if isinstance(item, dict) else None
        return SentLabel(sent if isinstance(sent, str) else None, "", "", problem)


def _label(item: Any, model: Model, prefix: str) -> SentLabel:
    content = _object(item, prefix.rstrip(".") or "body")
    _require_keys(content, ("prediction_id", model.target), prefix)
    for key in ("prediction_id", model.target):
        if content.get(key) is None:
            raise unprocessable("missing_field", f"{prefix}{key}", "is missing")
    sent = content["prediction_id"]
    if not isinstance(sent, str):
        raise unprocessable("not_an_id", f"{prefix}prediction_id", f"must be the id of an answer, not {shown(sent)}")
    target = check_target(content[model.target], model, f"{prefix}{model.target}")
    assert target is not None
    return SentLabel(sent, canonical_id(sent), target)


def named(ids: list[str]) -> str:
    """Return the first few ids, and how many more there are."""
    more = f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else ""
    return ", ".join(prediction_id[:40] for prediction_id in ids[:_NAMED]) + more
