"""The kinds of value that config.yml and the environment take: names, durations, URIs."""

import re
import unicodedata
from collections import Counter
from datetime import timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from monitoring.contract.categories import category_text

LEAST_PROMISE = 1000  # rows between false alarms: fewer would be no promise

# the fields that stand beside model.label in an answer of the API
_ANSWER = ("prediction_id", "confidence", "probabilities", "model_version")
# the fields of a request that model.target stands beside
_REQUEST = ("features", "instances")
# control characters, halves of characters outside the first plane, and what ends a line or a paragraph
_UNREADABLE = ("Cc", "Cs", "Zl", "Zp")
_SCRAPED = ("job", "instance")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: Any) -> timedelta:
    """Read `90s`, `30m`, `1h` or `7d`; raise ValueError for anything else."""
    if isinstance(text, timedelta):
        return text
    number, unit = str(text)[:-1], str(text)[-1:]
    if unit not in _UNITS or not re.fullmatch(r"[0-9]{1,8}", number) or int(number) == 0:
        raise ValueError("a duration is a positive whole number and a unit, like 90s, 30m, 1h or 7d")
    return timedelta(**{_UNITS[unit]: int(number)})


def _write_duration(duration: timedelta) -> str:
    """Return what `parse_duration` reads."""
    return f"{duration // timedelta(seconds=1)}s"


def _rows_or_duration(given: Any) -> timedelta | int:
    """Read a number of rows, or a duration."""
    if isinstance(given, int) and not isinstance(given, bool):
        if given < LEAST_PROMISE:
            raise ValueError(f"a number of rows is at least {LEAST_PROMISE}")
        return given
    try:
        return parse_duration(given)
    except ValueError as error:
        raise ValueError(f"{error}; or it is a number of rows") from error


def require_zone(name: str) -> str:
    """Return the name of a time zone; raise ValueError if there is none of it."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(f"{name!r} is no time zone; one is UTC or a name such as Europe/Berlin") from error
    return name


def require_unique(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names; raise ValueError with those that stand more than once."""
    twice = sorted(name for name, number in Counter(names).items() if number > 1)
    if twice:
        raise ValueError(f"names must differ, but these stand more than once: {', '.join(twice)}")
    return names


def require_free(label: str) -> str:
    """Return the label; raise ValueError if the API's answers have a field of that name, or Prometheus a label."""
    if label in _SCRAPED:
        raise ValueError(f"is a label that Prometheus sets itself, as it does {' and '.join(_SCRAPED)}")
    if label in _ANSWER:
        raise ValueError(f"is taken in the API's answers; allowed is any name but {', '.join(_ANSWER)}")
    return label


def require_free_answer(prediction: str) -> str:
    """Return a regression's prediction; raise ValueError if the API's answers have a field of that name beside it."""
    if prediction in (*_ANSWER, "predictions"):
        raise ValueError(f"prediction {prediction!r} is taken in the API's answers, which name the number so")
    return prediction


def require_free_target(target: str) -> str:
    """Return the target; raise ValueError if the API's requests have a field of that name beside it."""
    if target in _REQUEST:
        raise ValueError(f"is taken in the API's requests; allowed is any name but {', '.join(_REQUEST)}")
    return target


def require_readable(name: str) -> str:
    """Return the name; raise ValueError if it holds a character that nobody could read back or write."""
    for character in name:
        if unicodedata.category(character) in _UNREADABLE:
            raise ValueError(f"holds the control character {character!a}; a name is text without any")
    return name


TimeZone = Annotated[str, AfterValidator(require_zone)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]  # what other languages take for a name too
Name = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(require_readable)]
Names = Annotated[tuple[Name, ...], Field(min_length=1), AfterValidator(require_unique)]
Categories = Annotated[
    tuple[Annotated[Name, BeforeValidator(category_text)], ...], Field(min_length=2), AfterValidator(require_unique)
]
Levels = Annotated[
    tuple[Annotated[Name, BeforeValidator(category_text)], ...], Field(min_length=1), AfterValidator(require_unique)
]
Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(_write_duration, when_used="json")]
StorageURI = Annotated[str, Field(pattern=r"^(s3|gs|abfss?)://[^/?]+")]
FalseAlarmEvery = Annotated[Duration | int, BeforeValidator(_rows_or_duration)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Probability = Annotated[Number, Field(gt=0, lt=1)]
