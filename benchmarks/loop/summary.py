"""How the loop met what is asked of it: a replay's figures."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

from benchmarks.loop.events import Found, local, moment_of

GOAL_RUNS = 1.0  # of `retrain` a day, at most
GOAL_HOURS = 48.0  # from a change's first row to `Promoted` or `Accepted`
SETTLED = ("Promoted", "Accepted")
SOON = timedelta(days=1)  # after a re-base: an alarm in this time is at another time of the day


def summarise(replay: Found) -> Found:
    """Return a replay's figures; hours are None for what did not happen."""
    runs = [about for _, about in _events(replay, "run") if about["flow"] == "retrain"]
    short = [run for run in runs if run["outcome"] == "TooFewLabels"]
    least = replay["minimum_labels"]
    days = Counter(local(moment).date() for moment, about in _events(replay, "run") if about["flow"] == "retrain")
    rebased = [moment for moment, about in _events(replay, "reference") if about["origin"] == "rebased"]
    alarms = [moment for moment, _ in _events(replay, "alarm")]
    length = (moment_of(replay["end"]) - moment_of(replay["begin"])) / timedelta(days=1)
    return {
        "days": length,
        "runs": len(runs),
        "runs_a_day": len(runs) / length,
        "most_runs_on_a_day": max(days.values(), default=0),
        "days_with_more_runs": sum(count > GOAL_RUNS for count in days.values()),
        "outcomes": dict(Counter(run["outcome"] for run in runs)),
        "rollbacks": sum(about["flow"] == "rollback" for _, about in _events(replay, "run")),
        "too_few_though_there_since_onset": sum(run["labels_since_onset"] >= least for run in short),
        "too_few_though_there_since_reference": sum(run["labels_since_reference"] >= least for run in short),
        "rebases": len(rebased),
        "alarms": len(alarms),
        "alarms_soon_after_rebase": sum(
            any(timedelta(0) <= alarm - moment < SOON for moment in rebased) for alarm in alarms
        ),
        "share_in_alarm": replay["in_alarm"] / max(replay["looks"], 1),
        "share_learning": replay["learning"] / max(replay["looks"], 1),
        "accuracy": replay["accuracy"],
        "accuracy_alone": replay["accuracy_alone"],
        "changes": [_followed(replay, moment_of(moment), what) for moment, what in replay["changes"]],
    }


def _followed(replay: Found, came: datetime, what: str) -> Found:
    """Return how a change in the data was followed up.

    It is found by the first alarm after its first row, at once if one is on. It is settled by the first promotion or
    acceptance whose reference is, for the most part, of rows since.
    """
    on, noticed, outcome, settled = False, None, None, None
    for event in replay["events"]:
        moment, kind, about = moment_of(event["moment"]), event["what"], event["about"]
        if moment < came:
            on = (on or kind == "alarm") and kind != "over"
            continue
        if kind == "alarm" and noticed is None:
            noticed = moment
        if kind == "run" and about["outcome"] in SETTLED:
            outcome = about["outcome"]
        if kind == "reference" and outcome and settled is None and moment_of(about["middle"]) >= came:
            settled = (moment - came) / timedelta(hours=1), outcome
    found = 0.0 if on else None if noticed is None else (noticed - came) / timedelta(hours=1)
    return {
        "what": what,
        "came": came.isoformat(),
        "in_alarm_before": on,
        "hours_to_alarm": found,
        "hours_to_settled": settled[0] if settled else None,
        "outcome": settled[1] if settled else None,
    }


def _events(replay: Found, what: str) -> Iterator[tuple[datetime, Found]]:
    for event in replay["events"]:
        if event["what"] == what:
            yield moment_of(event["moment"]), event["about"]


def summary_table(replays: list[Found]) -> str:
    """Return the figures of all replays as Markdown."""
    return "\n".join(_summary_lines(replays))


def _summary_lines(replays: list[Found]) -> Iterator[str]:
    figures = [summarise(replay) for replay in replays]
    yield "| | goal | " + " | ".join(replay["name"] for replay in replays) + " |"
    yield "|---|---|" + "---|" * len(replays)
    rows = {
        f"runs of `retrain` a day | {GOAL_RUNS:g} at most": lambda f: f"{f['runs_a_day']:.1f}",
        "most on one day; days with more than one | ": lambda f: (
            f"{f['most_runs_on_a_day']}; {f['days_with_more_runs']}"
        ),
        "how they ended | ": lambda f: ", ".join(f"{n} {name}" for name, n in sorted(f["outcomes"].items())) or "none",
        "`TooFewLabels` though labels are there: since the onset; since the reference | 0": lambda f: (
            f"{f['too_few_though_there_since_onset']}; {f['too_few_though_there_since_reference']}"
        ),
        "runs of `rollback` | ": lambda f: str(f["rollbacks"]),
        "drift alarms; within a day of a re-base | ": lambda f: f"{f['alarms']}; {f['alarms_soon_after_rebase']}",
        "re-bases of the reference | ": lambda f: str(f["rebases"]),
        "share of the time in alarm | ": lambda f: f"{f['share_in_alarm']:.0%}",
        "share of the time in which the alarm learned | ": lambda f: f"{f['share_learning']:.0%}",
        "answers that were right; had the first champion stayed | ": lambda f: (
            f"{f['accuracy']:.1%}; {f['accuracy_alone']:.1%}"
        ),
    }
    for title, cell in rows.items():
        yield f"| {title} | " + " | ".join(cell(one) for one in figures) + " |"
    yield ""
    yield f"| replay | change | first row (New York) | found after | settled after (goal: {GOAL_HOURS:g} h) |"
    yield "|---|---|---|---|---|"
    for replay, one in zip(replays, figures, strict=True):
        for change in one["changes"]:
            alarm = "in alarm before it came" if change["in_alarm_before"] else _hours(change["hours_to_alarm"])
            settled = _hours(change["hours_to_settled"]) + (f", {change['outcome']}" if change["outcome"] else "")
            came = local(moment_of(change["came"]))
            yield f"| {replay['name']} | {change['what']} | {came:%m-%d %H:%M} | {alarm} | {settled} |"


def _hours(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} h"
