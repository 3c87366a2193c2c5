"""How a request's features are read, by kind: what is taken as a value, what is refused, and how the API describes it.

One class says it for each kind; `KINDS` has them by the names of `monitoring.contract.kinds`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, Protocol

from api.problems import Problem, shown, unprocessable
from monitoring.contract.categories import value_text
from monitoring.contract.config import Model
from monitoring.contract.kinds import LONGEST_LEVEL, KindName

Value = float | str | None
Schema = dict[str, Any]

_WHOLE = 2.0**53  # up to which a float tells whole numbers apart
# the smallest number that rounds to infinity in the log's type
_TOO_LARGE = {"float32": (2 - 2**-24) * 2.0**127, "float64": 2**1024 - 2**970}
LARGEST = {"float32": 3.4028234663852886e38, "float64": 1.7976931348623157e308}


class RequestKind(Protocol):
    """What depends on a feature's kind in requests."""

    has_texts: bool  # among its values

    def read(self, features: Mapping[str, Any], names: Sequence[str], dtype: str, at: str) -> list[Value]:
        """Return the features' values as they are logged; raise the Problem that names the first that is none."""

    def schema(self, dtype: str) -> Schema:
        """Describe a feature of this kind."""


class NumericRequest:
    """Finite numbers of the log's type."""

    has_texts = False

    def read(self, features: Mapping[str, Any], names: Sequence[str], dtype: str, at: str) -> list[Value]:
        """Return the numbers."""
        get, too_large = features.get, _TOO_LARGE[dtype]
        values: list[Value] = []
        for name in names:
            value = get(name)
            if value is not None:
                if (type(value) is float or type(value) is int) and -too_large < value < too_large:
                    value = float(value)
                else:
                    raise _not_a_number(value, f"{at}.{name}", dtype)
            values.append(value)
        return values

    def schema(self, dtype: str) -> Schema:
        """Describe a number."""
        return {
            "type": ["number", "null"],
            "minimum": -LARGEST[dtype],
            "maximum": LARGEST[dtype],
            "description": f"a finite {dtype}; null or absent is a missing value",
        }


class CategoricalRequest:
    """Levels: text, whole numbers, true and false, logged as text; one that was never seen is as good as any."""

    has_texts = True

    def read(self, features: Mapping[str, Any], names: Sequence[str], dtype: str, at: str) -> list[Value]:  # noqa: ARG002
        """Return the levels' texts."""
        get = features.get
        values: list[Value] = []
        for name in names:
            value = get(name)
            if value is not None and not (type(value) is str and 0 < len(value) <= LONGEST_LEVEL and value.isascii()):
                value = _level(value, f"{at}.{name}")
            values.append(value)
        return values

    def schema(self, dtype: str) -> Schema:  # noqa: ARG002 - it is no number
        """Describe a level."""
        return {
            "type": ["string", "integer", "boolean", "null"],
            "minLength": 1,
            "maxLength": LONGEST_LEVEL,
            "description": "a level, known or new; a whole number or a boolean is its text; null or absent is missing",
        }


KINDS: dict[KindName, RequestKind] = {"numeric": NumericRequest(), "categorical": CategoricalRequest()}


def _not_a_number(value: Any, at: str, dtype: str) -> Problem:
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value:  # noqa: PLR0124 - NaN differs
        return unprocessable("out_of_range", at, f"{shown(value)} is out of range; a feature is a finite {dtype}")
    instead = "; true and false are sent as 1 and 0" if isinstance(value, bool) else ""
    return unprocessable("not_a_number", at, f"must be a number or null, not {shown(value)}{instead}")


def _level(value: Any, at: str) -> str:
    """Return a level's text; a whole float is a whole number, as files have it where others are missing."""
    try:
        text = value_text(value, _WHOLE)
    except ValueError:
        detail = f"must be text, a whole number, true, false or null, not {shown(value)}"
        raise unprocessable("not_a_level", at, detail) from None
    if not text:
        raise unprocessable("empty_level", at, "is empty; send null where there is no value")
    if len(text) > LONGEST_LEVEL:
        detail = f"has {len(text):,} characters, {shown(text)}; a level has at most {LONGEST_LEVEL}"
        raise unprocessable("level_too_long", at, detail)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise unprocessable("not_text", at, f"{shown(text)} holds half a character, which no text does") from None
    return text


@dataclass(frozen=True)
class Run:
    """Features of one kind that follow each other in the config."""

    kind: RequestKind
    names: tuple[str, ...]


def runs_of(model: Model) -> tuple[Run, ...]:
    """Return the features in the config's order, as few runs as there are."""
    return _runs(model.features, tuple(model.kinds.items()))  # each request asks


@lru_cache(maxsize=16)
def _runs(features: tuple[str, ...], kinds: tuple[tuple[str, KindName], ...]) -> tuple[Run, ...]:
    of = dict(kinds)
    grouped = groupby(features, key=lambda name: of.get(name, "numeric"))
    return tuple(Run(KINDS[kind], tuple(names)) for kind, names in grouped)
