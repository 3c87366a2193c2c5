"""From a request's body to rows of values; what does not fit is refused by a problem that names the field."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.json_body import count_strings, parse_json, require_each_once
from api.kinds import Run, Value, runs_of
from api.problems import Problem, shown, unprocessable
from api.tasks import TASKS
from monitoring.contract.config import Model
from monitoring.contract.prediction_ids import canonical_id

MAX_INSTANCES = 100_000
MAX_LABELS = 10_000

_NAMED = 5
_NOT_COUNTED = -1
_STRING = re.compile(rb'(?s)"(?:[^"\\]++|\\.)*+"?')  # in one pass, whatever the body is

Values = list[Value]
Target = str | float | None


@dataclass(frozen=True)
class Instances:
    """The rows of a prediction request: features in the config's order, and the label where it is known already."""

    values: list[Values]
    targets: list[Target]
    single: bool


@dataclass(frozen=True)
class SentLabel:
    """A label that arrived later: the id as sent, if there is one, and as ids are compared, or why it is of no use."""

    prediction_id: str | None
    key: str
    target: str | float
    problem: Problem | None = None


def parse_instances(body: bytes, model: Model) -> Instances:
    """Read a prediction request's JSON body; raise the Problem that says what cannot be used."""
    reading = Reading(model)
    reading.require_few(body)
    content = as_object(parse_json(body), "body")
    if "instances" not in content:
        strings = reading.count_strings(content)
        require_keys(content, ("features", model.target, "instances"), "")
        values, target = reading.instance(content, "")
        require_each_once(body, strings)
        return Instances([values], [target], single=True)
    require_keys(content, ("instances",), "")
    instances = as_batch(content["instances"], "instances")
    strings = 1 + sum(map(reading.count_strings, instances))
    pairs = [reading.instance_or_features(item, f"instances[{i}]") for i, item in enumerate(instances)]
    require_each_once(body, strings)
    return Instances([values for values, _ in pairs], [target for _, target in pairs], single=False)


def as_batch(value: Any, at: str) -> list[Any]:
    """Return a list of one to MAX_INSTANCES items; raise the Problem that says what it must be."""
    if not isinstance(value, list):
        raise unprocessable("not_a_list", at, f"must be a list of objects, not {shown(value)}")
    if not value:
        raise unprocessable("empty_batch", at, "is empty; give at least one")
    if len(value) > MAX_INSTANCES:
        raise too_many(at, MAX_INSTANCES)
    return value


class Reading:
    """How one request's rows are read."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._runs: tuple[Run, ...] = runs_of(model)
        self.texts = tuple(name for run in self._runs if run.kind.has_texts for name in run.names)

    def require_few(self, body: bytes) -> None:
        """Refuse what cannot be a request of that many instances before it is built in memory."""
        model = self._model
        names = "".join((*model.features, model.target, max(model.categories, key=len, default="")))
        for sign, most in (("{", 2), (",", len(model.features) + 2)):  # of an instance, beside those in the names
            if body.count(sign.encode()) <= (most + names.count(sign)) * MAX_INSTANCES + 1:
                continue
            if not self.texts or count_outside_strings(body, sign) > most * MAX_INSTANCES + 1:
                raise too_many("instances", MAX_INSTANCES)

    def count_strings(self, item: Any) -> int:
        """Count the strings of an instance: names, levels and the label."""
        return count_strings(item, (self._model.target,), self.texts)

    def instance_or_features(self, item: Any, at: str) -> tuple[Values, Target]:
        """Read one of `instances`: the body of a single prediction, or the features themselves."""
        model, content = self._model, as_object(item, at)
        if "features" in content and ("features" not in model.features or isinstance(content["features"], dict)):
            require_keys(content, ("features", model.target), f"{at}.")
            return self.instance(content, f"{at}.")
        target = check_target(content.pop(model.target, None), model, f"{at}.{model.target}")
        return self.values(content, at), target

    def instance(self, content: dict[str, Any], prefix: str) -> tuple[Values, Target]:
        """Read the body of a single prediction."""
        if "features" not in content:
            raise unprocessable(
                "missing_field", f"{prefix}features", "is missing; give the features, or `instances`, a list of them"
            )
        features = as_object(content["features"], f"{prefix}features")
        target = check_target(content.get(self._model.target), self._model, f"{prefix}{self._model.target}")
        return self.values(features, f"{prefix}features"), target

    def values(self, features: Mapping[str, Any], at: str) -> Values:
        """Return the features' values in the config's order; raise the Problem that names the first that is none."""
        model = self._model
        values: Values = []
        for run in self._runs:
            values += run.kind.read(features, run.names, model.dtype, at)
        present = len(values) - values.count(None)
        if present < len(features):
            null = sum(name in features for name, v in zip(model.features, values, strict=True) if v is None)
            if present + null < len(features):
                unknown = next(name for name in features if name not in model.features)
                detail = f"no such feature; there are {', '.join(model.features)}"
                raise unprocessable("unknown_feature", f"{at}.{unknown}", detail)
        if not present:
            raise unprocessable(
                "no_values", at, f"no feature has a value; give at least one of {', '.join(model.features)}"
            )
        return values


def count_outside_strings(body: bytes, sign: str) -> int:
    """Count a sign of JSON's own in a body: not those within names and texts."""
    return _STRING.sub(b"", body).count(sign.encode())


def too_many(field: str, limit: int) -> Problem:
    """Return the 413 of a list of more than that."""
    return Problem(413, "too_many_rows", f"{field}: more than {limit:,}; split them into several requests", field=field)


def as_object(value: Any, at: str) -> dict[str, Any]:
    """Return an object; raise the Problem of what is none."""
    if not isinstance(value, dict):
        raise unprocessable("not_an_object", at, f"must be an object, not {shown(value)}")
    return value


def require_keys(content: dict[str, Any], allowed: tuple[str, ...], prefix: str) -> None:
    """Raise the Problem that names the first key that has no place there."""
    for key in content:
        if key not in allowed:
            raise unprocessable(
                "unknown_field", f"{prefix}{key}", f"has no place here; allowed are {', '.join(allowed)}"
            )


def check_target(value: Any, model: Model, at: str) -> Target:
    """Return a label as it is logged, or None if it is not given; raise the Problem that says what it must be."""
    if value is None:
        return None
    try:
        return model.rules.parse(value, model.categories)
    except ValueError:
        raise unprocessable(*TASKS[model.task].unfit_label(value, model, at)) from None


def parse_labels(body: bytes, model: Model) -> list[SentLabel]:
    """Read a feedback request's JSON body, one label or a list of them; raise the Problem of the body as a whole."""
    content = parse_json(body)
    single = not isinstance(content, list)
    if single:
        content = [content]
    elif not content:
        raise unprocessable("empty_batch", "body", "the list is empty; give at least one label")
    elif len(content) > MAX_LABELS:
        raise too_many("body", MAX_LABELS)
    labels = [_sent_label(item, model, "" if single else f"[{i}].") for i, item in enumerate(content)]
    readable = all(label.problem is None for label in labels)
    strings = sum(count_strings(item, ("prediction_id", model.target)) for item in content)
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
    content = as_object(item, prefix.rstrip(".") or "body")
    require_keys(content, ("prediction_id", model.target), prefix)
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
