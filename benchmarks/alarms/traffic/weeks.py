"""What weather and schedules really do: a reference of weeks to the end of September, the log of the two months after.

Every alarm is listed, with what an engineer who knows the season would say of it.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from benchmarks.alarms.traffic import flights, watch

END, LAST = "2013-10-01", "2013-12-01"
WEEKS = (4, 8)
# The season's events, by local days, both included.
EVENTS = (
    ("2013-10-11", "2013-10-15", "Columbus Day weekend"),
    ("2013-10-31", "2013-11-02", "Halloween's storm"),
    ("2013-11-03", "2013-11-05", "summer time ended; winter schedules began"),
    ("2013-11-08", "2013-11-12", "Veterans Day"),
    ("2013-11-23", "2013-11-26", "cold spell"),
    ("2013-11-26", "2013-12-01", "Thanksgiving"),
)


def one(job: tuple[str, int]) -> dict[str, object]:
    """Watch October and November by a set of features and the weeks of the reference."""
    name, weeks = job
    model = flights.model(name)
    before = flights.local(END) - pd.Timedelta(weeks=weeks)
    reference, log = flights.between(before.strftime("%Y-%m-%d"), END), flights.between(END, LAST)
    words = model.words(reference)
    seen = model.observe(log, words=words)
    found = watch.replay(
        watch.Watch.of(model.observe(reference), len(flights.CATEGORIES), words),
        seen,
        tuple(model.names),
        watch.promised_rows(seen),
    )
    return {
        "features": name,
        "weeks": weeks,
        "share": found.share,
        "anew": found.anew,
        "alarms": [
            vars(alarm)
            | {key: _local(log, getattr(alarm, key)) for key in ("onset", "row", "over")}
            | {
                "comment": comment(
                    reference, log.iloc[alarm.onset : alarm.over], list(model.columns.of_kind("numeric"))
                )
            }
            for alarm in found.alarms
        ],
    }


def _local(log: pd.DataFrame, row: int) -> str:
    return str(log.timestamp.dt.tz_convert(flights.ZONE).iloc[min(row, len(log) - 1)].strftime("%Y-%m-%d %H:%M"))


def comment(reference: pd.DataFrame, rows: pd.DataFrame, names: list[str]) -> str:
    """Say what was up in these rows: the season's events, and features that left the reference's range."""
    first, last = (moment.tz_convert(flights.ZONE).strftime("%Y-%m-%d") for moment in rows.timestamp.iloc[[0, -1]])
    said = [text for begin, end, text in EVENTS if first <= end and begin <= last]
    for name in names:
        known, new = reference[name], rows[name]
        below, above = float((new < known.min()).mean()), float((new > known.max()).mean())
        if max(below, above) > 0.01:  # noqa: PLR2004 - a hundredth of the rows
            word = "below" if below > above else "above"
            said.append(f"{name} {word} all of the reference in {max(below, above):.0%} of the rows")
    if not said:
        move = {n: (rows[n].mean() - reference[n].mean()) / reference[n].std() for n in names}
        name = max(move, key=lambda one: abs(move[one]))
        said = [f"{name} {'higher' if move[name] > 0 else 'lower'} by {abs(move[name]):.1f} standard deviations"]
    return "; ".join(said)


def table(found: list[dict[str, object]]) -> str:
    """Return every alarm as Markdown."""
    return "\n".join(_lines(found))


def _lines(found: list[dict[str, object]]) -> Iterator[str]:
    yield "| reference | features | raised | began | over | attributed to | effect | an engineer would say |"
    yield "|---|---|---|---|---|---|---|---|"
    for one in found:
        what = f"| {one['weeks']} weeks | `{one['features']}` |"
        alarms: list[dict[str, object]] = one["alarms"]  # type: ignore[assignment]
        for a in alarms:
            yield (
                f"{what} {a['row']} | {a['onset']} | {a['over']} | {a['changed']} ({a['kind']}) | {a['effect']:.2f} | "
                f"{a['comment']} |"
            )
        share = np.round(100 * float(one["share"]), 1)  # type: ignore[arg-type]
        yield f"{what} {len(alarms)} alarms, {one['anew']} with a new start after each | | | in alarm {share} % | | |"
