"""What a backtest found, as text for a person and as JSON."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from monitoring.alarms.drift.attribution import ColumnAttribution
from monitoring.alarms.drift.calibration import POPULATIONS
from monitoring.alarms.drift.support import Support
from monitoring.backtest.alert_rules import Firing, Outcome
from monitoring.backtest.detector_replay import PastAlarm
from monitoring.backtest.log_rows import utc

SHOWN = 3  # firings of an alert, and columns of an alarm, that the text names
DAY = 86_400e6  # microseconds


@dataclass(frozen=True)
class LabelsMet:
    """How many late labels were known at the last look, and how many rows had one of them."""

    read: int
    rows: int


@dataclass(frozen=True)
class Backtest:
    """A replay: its period, rows and looks, and what would have fired.

    `outcomes` is None where no Prometheus was there to say; `left_out` are the alerts that speak about nothing that was
    replayed. `restarted` are the times (microseconds since 1970) of the alarms of a drift detector that starts anew
    right after each. `support` is what the detector promises and how far that is supported, `unread` names the files
    that could not be read, `populations` is what it was calibrated on, `unknown` says which predictions are no
    categories.
    """

    first: int
    last: int
    rows: int
    looks: int
    step: float
    outcomes: tuple[Outcome, ...] | None
    alarms: tuple[PastAlarm, ...]
    restarted: tuple[int, ...]
    support: Support
    left_out: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    populations: int = POPULATIONS
    unknown: str | None = None
    labels: LabelsMet | None = None

    @property
    def days(self) -> float:
        """Return how many days the log is long."""
        return max((self.last - self.first) / DAY, 1e-9)

    @property
    def share_in_alarm(self) -> float:
        """Return the share of the time in which the drift detector was in alarm."""
        length = max(self.last - self.first, 1)
        ended = ((one.alarm.noticed, self.last if one.over is None else one.over) for one in self.alarms)
        return min(sum(max(over - noticed, 1) for noticed, over in ended) / length, 1.0)

    @property
    def days_with_alarm(self) -> tuple[int, int]:
        """Return in how many of the log's days, counted from its first row, the restarted detector raised an alarm."""
        every = max(math.ceil(self.days), 1)
        return len({int((moment - self.first) // DAY) for moment in self.restarted}), every


def as_text(found: Backtest) -> str:
    """Return the findings as lines to read."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Backtest) -> Iterator[str]:
    yield f"In alarm {_percent(found.share_in_alarm)} of the time: the drift detector."
    if found.outcomes is not None:
        firing = sorted((o for o in found.outcomes if o.share), key=lambda o: (-o.share, o.alert.name))
        shares = ", ".join(f"{o.alert.name} {_percent(o.share)}" for o in firing)
        yield f"Alert rules that fire, by the share of the time: {shares or 'none'}."
    yield ""
    if found.unknown:
        yield found.unknown
    if found.unread:
        number = len(found.unread)
        yield f"{number} file{'s were' if number > 1 else ' was'} left out, wholly or in part:"
        yield from (f"  {one}" for one in found.unread)
        yield ""
    period = f"{utc(found.first)} to {utc(found.last)} UTC"
    yield f"{period}: {found.rows:,} rows, {found.looks:,} looks, one each {found.step:g} s"
    if found.labels:
        yield f"Late labels: {found.labels.read:,} up to the last look; {found.labels.rows:,} rows had one"
    yield ""
    if found.outcomes is None:
        yield "Alert rules: not evaluated."
    else:
        yield f"{'alert':<34}{'of the time':>12}{'times':>7}{'per day':>9}  when (UTC), value"
        for outcome in sorted(found.outcomes, key=lambda one: one.alert.name):
            yield from _of_alert(outcome, found.days)
        if found.left_out:
            yield f"Not asked, since no metric of theirs was replayed: {', '.join(sorted(found.left_out))}."
    yield ""
    number = len(found.alarms)
    yield (
        f"Drift detector: in alarm {_percent(found.share_in_alarm)} of the time, "
        f"{_alarms(number)}, {_per_day(number, found)}"
    )
    again, (hit, every) = len(found.restarted), found.days_with_alarm
    yield (
        f"  with a new start after each: {_alarms(again)}, {_per_day(again, found)}, "
        f"on {hit} of {every} day{'s' if every != 1 else ''}"
    )
    yield f"  promised: {found.support.promised_said}"
    yield f"  supported: {found.support.supported_said}"
    yield f"  rhythm: {found.support.rhythm_said}"
    if found.populations < POPULATIONS:
        yield f"  calibrated on {found.populations} populations, the monitor on {POPULATIONS}: features are many"
    for alarm in found.alarms:
        yield from _of_alarm(alarm)


def _of_alert(outcome: Outcome, days: float) -> Iterator[str]:
    number = len(outcome.firings)
    name = outcome.alert.name
    if outcome.problem:
        yield f"{name:<34}cannot be asked: {outcome.problem}"
        return
    first, *others = [_span(one) for one in outcome.firings[:SHOWN]] or [""]
    yield f"{name:<34}{_percent(outcome.share):>12}{number:>7}{number / days:>9.2g}  {first}"
    yield from (f"{'':<62}  {other}" for other in others)
    if number > SHOWN:
        yield f"{'':<62}  and {number - SHOWN} more"
    if outcome.absent:
        yield f"{'':<34}without {', '.join(outcome.absent)}, which had no value"


def _alarms(number: int) -> str:
    return f"{number:,} alarm{'s' if number != 1 else ''}"


def _per_day(number: int, found: Backtest) -> str:
    rate = number / found.days
    return f"{rate:,.0f} per day" if rate >= 10 else f"{rate:.2g} per day"  # noqa: PLR2004 - two digits


def _percent(share: float) -> str:
    """Write a share so that a little is not nothing, and almost all is not all."""
    if 0 < share < 0.0005:  # noqa: PLR2004 - what would be written as 0.0
        return "<0.1 %"
    if 0.9995 <= share < 1:  # noqa: PLR2004 - what would be written as 100.0
        return ">99.9 %"
    return f"{100 * share:.1f} %"


def _span(one: Firing) -> str:
    end = utc(int(one.end * 1e6)) if one.end is not None else "the end"
    value = f"{one.low:.3g}" if one.low == one.high else f"{one.low:.3g} to {one.high:.3g}"
    return f"{utc(int(one.begin * 1e6))} to {end}, {value}"


def _of_alarm(past: PastAlarm) -> Iterator[str]:
    columns = sorted((c for c in past.attribution.columns if c.direction), key=lambda c: -c.contribution)
    blamed = ", ".join(map(_of_column, columns[:SHOWN])) or "no column by itself"
    more = f" and {len(columns) - SHOWN} more" if len(columns) > SHOWN else ""
    over = f"over at {utc(past.over)}" if past.over is not None else "not over at the end"
    yield (
        f"  noticed {utc(past.alarm.noticed)}, began {utc(past.alarm.onset)}, {over}: {past.alarm.kind}; "
        f"{blamed}{more}; effect {past.attribution.effect:.2f}"
    )


def _of_column(column: ColumnAttribution) -> str:
    """Say how a column changed; of a categorical feature, which levels grew or shrank the most."""
    shares = (
        f"{'unseen ' if one.unseen else ''}{one.level} {_percent(one.before)} to {_percent(one.now)}"
        for one in column.levels[:SHOWN]
    )
    levels = f" ({', '.join(shares)})" if column.levels else ""
    return f"{column.column} {column.direction}{levels}"


def as_json(found: Backtest) -> dict[str, Any]:
    """Return the findings for machines; times in seconds since 1970."""
    outcomes = None
    if found.outcomes is not None:
        outcomes = [
            {
                "alert": one.alert.name,
                "severity": one.alert.severity,
                "share_of_time": one.share,
                "times": len(one.firings),
                "per_day": len(one.firings) / found.days,
                "problem": one.problem,
                "absent": list(one.absent),
                "firings": [vars(f) | {"series": list(f.series)} for f in one.firings],
            }
            for one in found.outcomes
        ]
    alarms = [
        {
            "noticed": past.alarm.noticed / 1e6,
            "onset": past.alarm.onset / 1e6,
            "over": past.over / 1e6 if past.over is not None else None,
            "kind": past.alarm.kind,
            "effect": past.attribution.effect,
            "blamed": {c.column: c.direction for c in past.attribution.columns if c.direction},
            "levels": {c.column: [asdict(one) for one in c.levels] for c in past.attribution.columns if c.levels},
        }
        for past in found.alarms
    ]
    return {
        "from": found.first / 1e6,
        "to": found.last / 1e6,
        "rows": found.rows,
        "looks": found.looks,
        "seconds_between_looks": found.step,
        "alerts": outcomes,
        "alerts_left_out": sorted(found.left_out),
        "files_left_out": list(found.unread),
        "unknown_predictions": found.unknown,
        "labels": None if found.labels is None else {"read": found.labels.read, "rows": found.labels.rows},
        "detector": {
            "share_of_time": found.share_in_alarm,
            "promise_rows": found.support.promised,
            "supported_rows": found.support.supported,
            "rows_per_second": found.support.rate,
            "rhythm": {
                "cycle_seconds": found.support.cycle_seconds,
                "cycles": found.support.rhythm.cycles,
                "said": found.support.rhythm_said,
            },
            "populations": found.populations,
            "per_day": len(alarms) / found.days,
            "alarms": alarms,
            "with_new_start": {
                "per_day": len(found.restarted) / found.days,
                "days_with_alarm": found.days_with_alarm[0],
                "days": found.days_with_alarm[1],
                "alarms": [moment / 1e6 for moment in found.restarted],
            },
        },
    }
