"""From the body of `POST /log` to rows that another service predicted; what does not fit is refused by its name."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

from api.json_body import parse_json, require_each_once
from api.kinds import Schema
from api.problems import shown, unprocessable
from api.tasks import TASKS, Shares
from api.validation import (
    MAX_INSTANCES,
    Reading,
    Target,
    Values,
    as_batch,
    as_object,
    check_target,
    count_outside_strings,
    require_keys,
    too_many,
)
from monitoring.contract.config import Model
from monitoring.contract.prediction_ids import canonical_id
from monitoring.contract.times import NEVER, Micros, microseconds

LONGEST_TEXT = 256  # of an id and of a model's version, in characters

_SECOND = 1_000_000
_TEXTS = ("prediction_id", "timestamp", "model_version")


class SentRow(NamedTuple):
    """One row as it is logged; an id or a time that was not sent is None."""

    prediction_id: str | None
    timestamp: Micros | None
    values: Values
    prediction: str | float
    confidence: float | None
    model_version: str | None
    target: Target
    probabilities: Shares


def parse_rows(body: bytes, model: Model) -> list[SentRow]:
    """Read the body of `POST /log`; raise the Problem that says what cannot be used."""
    require_few(body, model)
    content = as_object(parse_json(body), "body")
    require_keys(content, ("rows",), "")
    if "rows" not in content:
        raise unprocessable("missing_field", "rows", "is missing; give a list of rows")
    reading = _RowReading(model)
    parsed = [reading.row(item, f"rows[{n}]") for n, item in enumerate(as_batch(content["rows"], "rows"))]
    require_each_once(body, 1 + reading.strings)
    return parsed


def read_rows(rows: list[dict[str, Any]], model: Model) -> list[SentRow]:
    """Read rows as `parse_rows` does, which were made of another protocol's."""
    reading = _RowReading(model)
    return [reading.row(item, f"rows[{n}]") for n, item in enumerate(rows)]


def require_few(body: bytes, model: Model) -> None:
    """Refuse what cannot be a request of that many rows before it is built in memory."""
    for sign, most in (("{", 3), (",", len(model.features) + len(model.categories) + 8)):  # of a row
        room = most * MAX_INSTANCES + 1
        if body.count(sign.encode()) > room and count_outside_strings(body, sign) > room:
            raise too_many("rows", MAX_INSTANCES)


class _RowReading:
    """How one request's rows are read, and how many names and texts were in them."""

    def __init__(self, model: Model) -> None:
        self.strings = 0
        self._model = model
        self._task = TASKS[model.task]
        self._reading = Reading(model)
        self._texts = (model.prediction, model.target, *_TEXTS)
        self._keys = ("features", *self._texts, "confidence", *self._task.sent_besides)
        self._allowed = frozenset(self._keys)

    def row(self, item: Any, at: str) -> SentRow:
        """Read one row."""
        model, content = self._model, as_object(item, at)
        if not content.keys() <= self._allowed:
            require_keys(content, self._keys, f"{at}.")
        get = content.get
        features, answer = get("features"), get(model.prediction)
        if features is None or answer is None:
            field = "features" if features is None else model.prediction
            raise unprocessable("missing_field", f"{at}.{field}", "is missing")
        values = self._reading.values(as_object(features, f"{at}.features"), f"{at}.features")
        prediction = check_target(answer, model, f"{at}.{model.prediction}")
        assert prediction is not None
        confidence, probabilities = self._shares(content, prediction, at)
        sent_id = _text(get("prediction_id"), at, "prediction_id")
        row = SentRow(
            None if sent_id is None else canonical_id(sent_id),
            _time(get("timestamp"), at),
            values,
            prediction,
            confidence,
            _text(_version(get("model_version")), at, "model_version"),
            check_target(get(model.target), model, f"{at}.{model.target}"),
            probabilities,
        )
        self._count(content, features)
        return row

    def _shares(self, content: dict[str, Any], prediction: str | float, at: str) -> tuple[float | None, Shares]:
        """Return a row's confidence and probabilities as they are logged."""
        confidence = _share(content.get("confidence"), at)
        return self._task.sent_shares(self._model, content, prediction, confidence, at)

    def _count(self, content: dict[str, Any], features: dict[str, Any]) -> None:
        """Count the names and texts of a row."""
        get, shares = content.get, content.get("probabilities")
        texts = [1 for name in self._texts if type(get(name)) is str]
        levels = [1 for name in self._reading.texts if type(features.get(name)) is str]
        self.strings += len(content) + len(features) + len(texts) + len(levels) + (len(shares) if shares else 0)


def _version(value: Any) -> Any:
    """Return a whole number's text, or what else was sent."""
    return str(value) if type(value) is int else value


def _share(value: Any, row: str) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value <= 1:
        at = f"{row}.confidence"
        raise unprocessable("not_a_share", at, f"must be a number from 0 to 1, or null, not {shown(value)}")
    return float(value)


def _text(value: Any, row: str, field: str) -> str | None:
    """Return what `check_text` does, or None; most ids are plain, which is told faster."""
    if value is None or (
        type(value) is str and 0 < len(value) <= LONGEST_TEXT and value.isascii() and value.isprintable()
    ):
        return value
    return check_text(value, f"{row}.{field}")


def check_text(value: Any, at: str) -> str:
    """Return a text that can be an id; raise the Problem of anything else."""
    if not isinstance(value, str):
        raise unprocessable("not_text", at, f"must be text, not {shown(value)}")
    if not 0 < len(value) <= LONGEST_TEXT:
        raise unprocessable("text_length", at, f"has {len(value):,} characters; it has 1 to {LONGEST_TEXT}")
    if any(ord(sign) < ord(" ") or "\x7f" <= sign <= "\x9f" for sign in value):
        raise unprocessable("not_text", at, f"{shown(value)} holds a control character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise unprocessable("not_text", at, f"{shown(value)} holds half a character, which no text does") from None
    return value


def _time(value: Any, row: str) -> Micros | None:
    """Return a time as the log holds it: text of ISO 8601, in UTC unless it says otherwise, or seconds since 1970."""
    if value is None:
        return None
    try:
        time = _microseconds(value)
    except (ValueError, OverflowError):
        detail = f"must be a time like 2026-01-31T12:00:00Z, or seconds since 1970, not {shown(value)}"
        raise unprocessable("not_a_time", f"{row}.timestamp", detail) from None
    if not 0 <= time < NEVER:
        detail = f"{shown(value)} is not between the years 1970 and 9999; numbers are seconds, not milliseconds"
        raise unprocessable("time_out_of_range", f"{row}.timestamp", detail)
    return Micros(time)


def _microseconds(value: Any) -> int:
    if isinstance(value, str):
        moment = datetime.fromisoformat(value.upper())
        return microseconds(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    if type(value) not in (int, float):
        raise ValueError("neither text nor a number")
    return round(float(value) * _SECOND)


def time_schema() -> Schema:
    """Describe a time."""
    return {
        "type": ["string", "number", "null"],
        "description": "ISO 8601, in UTC unless it says otherwise, or seconds since 1970; null or absent is now",
    }


def text_schema(description: str) -> Schema:
    """Describe an id, or a model's version."""
    return {"type": ["string", "null"], "minLength": 1, "maxLength": LONGEST_TEXT, "description": description}
