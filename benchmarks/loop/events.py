"""A replay's events, a line each."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any
from zoneinfo import ZoneInfo

from benchmarks.alarms.traffic.flights import ZONE

Found = dict[str, Any]


def moment_of(text: str) -> datetime:
    """Return an event's moment."""
    return datetime.fromisoformat(text)


def local(moment: datetime) -> datetime:
    """Return a moment on New York's clocks."""
    return moment.astimezone(ZoneInfo(ZONE))


def event_table(replay: Found) -> str:
    """Return a line per event as Markdown; requests that are held back until the same moment are one line."""
    lines = ["| time (New York) | event | |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {time} | {what} | {text} |" for time, what, text in _event_rows(replay))])


def _event_rows(replay: Found) -> Iterator[tuple[str, str, str]]:
    changes = [{"moment": moment, "what": "data", "about": {"change": what}} for moment, what in replay["changes"]]
    events = sorted([*replay["events"], *changes], key=lambda event: moment_of(event["moment"]))
    held: Counter[str] = Counter(
        event["about"]["until"] for event in events if event["about"].get("outcome") == "cooldown"
    )
    told: set[str] = set()
    for event in events:
        about = event["about"]
        if about.get("outcome") == "cooldown" and event["what"] == "decision":
            if about["until"] in told:
                continue
            told.add(about["until"])
            about = {**about, "times": held[about["until"]]}
        yield row_of(moment_of(event["moment"]), event["what"], about)


def row_of(moment: datetime, what: str, about: Found) -> tuple[str, str, str]:
    """Return an event's time on New York's clocks, its name and its text."""
    name, text = _SAID[what]
    name = name(about) if callable(name) else name
    return f"{local(moment):%m-%d %H:%M}", name, text(about).replace("|", "/")


def _raised(about: Found) -> str:
    effect = "" if about["effect"] is None else f"; effect {about['effect']:.2f}"
    changed = ", ".join(about["changed"]) or "no column by itself"
    return f"{about['kind']}, since {local(moment_of(about['onset'])):%m-%d %H:%M}: {changed}{effect}"


def _right(about: Found) -> str:
    if not about:
        return ""
    return f"{about['right']} of {about['rows']} labelled rows right; {about['at_promotion']:.1%} at promotion"


def _decided(about: Found) -> str:
    number = about.get("inconclusive") or 0
    failed = f"; runs so far that concluded nothing: {number}" if number else ""
    if about["outcome"] != "cooldown":
        return f"`{about['alert']}`: {about['outcome']}{failed}"
    times = f"{about['times']} times " if about["times"] > 1 else ""
    waiting = " (waiting)" if number > 1 else ""
    return f"`{about['alert']}`: cooldown{waiting}, {times}until {local(moment_of(about['until'])):%m-%d %H:%M}{failed}"


def _referred(about: Found) -> str:
    first, last = moment_of(about["first"]), moment_of(about["last"])
    span = (last - first) / timedelta(hours=1)
    known = "" if about["accuracy"] is None else f", accuracy {about['accuracy']:.1%}"
    long = f"{span / 24:.0f} days" if span > 72 else f"{span:.0f} hours"  # noqa: PLR2004 - days read better from three on
    return f"{about['origin']}, version {about['version']}{known}: {about['rows']:,} rows over {long}"


_SAID: dict[str, tuple[str | Callable[[Found], str], Callable[[Found], str]]] = {
    "data": ("**the data changes**", itemgetter("change")),
    "alarm": ("drift alarm", _raised),
    "over": ("drift alarm over", lambda _: ""),
    "alert": ("alert", lambda about: f"`{about['alert']}`"),
    "resolved": ("alert over", lambda about: f"`{about['alert']}`"),
    "decision": ("request", _decided),
    "run": (lambda about: f"`{about['flow']}`", lambda about: f"**{about['outcome']}**: {about['message']}"),
    "reference": ("reference", _referred),
    "accuracy alarm": ("accuracy alarm", _right),
    "accuracy alarm over": ("accuracy alarm over", _right),
}
