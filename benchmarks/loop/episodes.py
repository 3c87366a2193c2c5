"""A replay's drift alarms, a line each: what was seen, what was asked for, what came of it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.loop.events import Found, local, moment_of, row_of

CONCLUSIVE = ("Promoted", "Accepted", "RolledBack")


@dataclass
class _Episode:
    """An alarm and all that came until the next one; without one, what came before the first."""

    alarm: Found | None
    events: list[Found] = field(default_factory=list)


def episode_table(replay: Found) -> str:
    """Return a line per drift alarm as Markdown, and one per change in the data."""
    return "\n".join(_lines(replay))


def _lines(replay: Found) -> Iterator[str]:
    yield "| raised (New York) | drift alarm | alert | requests | runs | over |"
    yield "|---|---|---|---|---|---|"
    lines = [(moment_of(moment), f"**{what}**", [""] * 4) for moment, what in replay["changes"]]
    lines += [_cells(episode) for episode in _episodes(replay) if episode.alarm or _of(episode, "run")]
    for moment, what, cells in sorted(lines, key=lambda line: line[0]):
        yield f"| {local(moment):%m-%d %H:%M} | {what} | " + " | ".join(cells) + " |"


def _episodes(replay: Found) -> list[_Episode]:
    episodes = [_Episode(None)]
    for event in replay["events"]:
        if event["what"] == "alarm":
            episodes.append(_Episode(event))
        episodes[-1].events.append(event)
    return episodes


def _cells(episode: _Episode) -> tuple[object, str, list[str]]:
    first = episode.alarm or _of(episode, "run")[0]
    moment = moment_of(first["moment"])
    what = row_of(moment, "alarm", first["about"])[2] if episode.alarm else "none"
    alerts = sorted({event["about"]["alert"] for event in _of(episode, "alert")})
    return moment, what, [", ".join(alerts), _requests(episode), _runs(episode), _over(episode)]


def _of(episode: _Episode, what: str) -> list[Found]:
    return [event for event in episode.events if event["what"] == what]


def _requests(episode: _Episode) -> str:
    outcomes = Counter(event["about"]["outcome"] for event in _of(episode, "decision"))
    return ", ".join(f"{number} {outcome}" for outcome, number in sorted(outcomes.items()))


def _runs(episode: _Episode) -> str:
    runs = [event["about"] for event in _of(episode, "run")]
    without = Counter(run["outcome"] for run in runs if run["outcome"] not in CONCLUSIVE)
    said = [f"{number} {outcome}" for outcome, number in without.items()]
    said += [f"**{run['outcome']}**{_scores(run)}" for run in runs if run["outcome"] in CONCLUSIVE]
    return ", ".join(said)


def _scores(run: Found) -> str:
    scores = run["scores"] or {}
    if not scores.get("champion") or not scores.get("candidate"):
        return ""
    first, second = (scores[who]["accuracy"] for who in ("champion", "candidate"))
    return f" (champion {first:.1%}, candidate {second:.1%} of {scores['rows']} rows)"


def _over(episode: _Episode) -> str:
    for event in episode.events:
        if event["what"] == "reference" and event["about"]["origin"] == "rebased":
            time, _, text = row_of(moment_of(event["moment"]), "reference", event["about"])
            return f"{time}, re-based: {text.removeprefix('rebased, ')}"
        if event["what"] == "over":
            return f"{local(moment_of(event['moment'])):%m-%d %H:%M}, by itself"
    return "not yet" if episode.alarm else ""
