"""A request's body as JSON: nothing compressed, nothing but UTF-8, and each name once."""

import json
from collections.abc import Collection, Iterable
from typing import Any

import orjson

from api.problems import Problem, shown, unprocessable


def require_plain(encoding: str | None) -> None:
    """Refuse a compressed body: how large it is shows only when it has been unpacked."""
    if (encoding or "identity").lower() != "identity":
        raise Problem(
            415, "content_encoding", f"Content-Encoding must be absent, not {shown(encoding)}", field="Content-Encoding"
        )


def parse_json(body: bytes) -> Any:
    """Parse JSON; the tokens NaN and Infinity are let through, to be refused where they stand."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as strict:
        try:
            return json.loads(body.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            raise Problem(400, "malformed_json", f"the body is not JSON: {strict}") from None


def require_each_once(body: bytes, strings: int) -> None:
    """Refuse a name that stands twice in one object, of which a parser keeps the last without a word.

    `strings` are the names and texts that were parsed: where the body holds no more quotes than theirs, nothing was
    dropped, and the slow look for the name is spared.
    """
    if body.count(b'"') != 2 * strings:
        json.loads(body.decode("utf-8-sig"), object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise unprocessable("duplicate_key", name, "stands twice in one object")
        content[name] = value
    return content


def count_strings(item: Any, texts: Iterable[str], levels: Collection[str] = ()) -> int:
    """Count the strings of one instance or label: its names, what stands at `texts`, and those of its features.

    `levels` are the features that texts may stand at.
    """
    if not isinstance(item, dict):
        return 0
    features = item.get("features")
    inside = len(features) if isinstance(features, dict) else 0
    if levels:
        holder = features if isinstance(features, dict) else item
        inside += sum(isinstance(holder.get(name), str) for name in levels)
    return len(item) + inside + sum(isinstance(item.get(name), str) for name in texts)
