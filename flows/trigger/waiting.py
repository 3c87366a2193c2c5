"""How long an alert that still fires waits before it may ask again: longer after each run that could conclude nothing.

Such a run would most likely end as the last one did: labels come slowly, and a candidate that is no better stays so for
a while. Waits grow by FACTOR, as retries do that back off exponentially: by default 15 minutes, 1 hour, 4 hours, 16
hours, and a day from then on. A rollback that has changed nothing waits four hours at most, since a model that has
turned bad does harm meanwhile.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from flows.clients.prefect import FlowRun

UNCHANGED = frozenset({"NothingToRollBackTo", "NotRolledBack"})  # ends of a rollback that has changed nothing
INCONCLUSIVE = frozenset({"TooFewLabels", "NotPromoted", "OnTrial"}) | UNCHANGED
FACTOR = 4
SHORTEST = timedelta(minutes=1)  # of a scheduler's, where the cooldown is none
LONGEST = timedelta(days=1)  # unless the cooldown itself is longer
LONGEST_IN_HARM = timedelta(hours=4)  # of a rollback
EPISODE = "episode:"  # what the tag of an alert's episode begins with


def inconclusive(runs: Sequence[FlowRun]) -> int:
    """Return how many of an episode's runs could conclude nothing."""
    return sum(run.state_name in INCONCLUSIVE for run in runs)


def pause(cooldown: timedelta, failed: int, longest: timedelta = LONGEST) -> timedelta:
    """Return the wait after so many inconclusive runs of an episode; the cooldown for none and for the first."""
    longest = max(longest, cooldown)
    for _ in range(1, failed):
        cooldown = min(cooldown * FACTOR, longest)
    return cooldown


def wait_since(start: datetime, cooldown: timedelta, now: datetime) -> tuple[int, datetime]:
    """Return the number of the wait, of those that follow each other since a start, which now lies in, and its end."""
    number, end, cooldown = 1, start, max(cooldown, SHORTEST)
    while (end := end + (wait := pause(cooldown, number))) <= now:
        number += 1
        if wait == pause(cooldown, number) == max(LONGEST, cooldown):  # they are all alike from here on
            more = (now - end) // wait
            number, end = number + more, end + more * wait
    return number, end


def held_until(runs: Sequence[FlowRun], cooldown: timedelta, now: datetime) -> datetime | None:
    """Return until when an episode with these runs, the newest first, may not ask again; None if it had none.

    A run whose times are ahead of the clock holds nothing off: it would do so for longer than any wait.
    """
    if not runs or runs[0].is_ahead(now):
        return None
    longest = LONGEST_IN_HARM if runs[0].state_name in UNCHANGED else LONGEST
    return runs[0].last_moment + pause(cooldown, inconclusive(runs), longest)


def newest_first(runs: Sequence[FlowRun], now: datetime) -> list[FlowRun]:
    """Return runs that are sorted by time, those last whose times are ahead of the clock: they are not the newest."""
    return sorted(runs, key=lambda run: run.is_ahead(now))


def newest_episode(runs: Sequence[FlowRun]) -> list[FlowRun]:
    """Return those of a flow's runs, the newest first, that belong to the newest one's episode."""
    if not runs:
        return []
    tags = {tag for tag in runs[0].tags if tag.startswith(EPISODE)}
    return [run for run in runs if tags.intersection(run.tags)] if tags else [runs[0]]
