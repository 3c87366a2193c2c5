"""Rows whose ids others made: each id is in the log once, however often it is sent and to whichever worker."""

from collections.abc import Collection, Mapping

from api.log.append_log import AppendLog
from api.log.own_ids import may_be_own
from monitoring.contract.schemas import Row, row_id, row_time
from monitoring.contract.times import Micros


def append_once(log: AppendLog, rows: list[Row], given: Collection[str], column: str) -> list[bool]:
    """Append the rows whose ids are not in the log; return for each row, in their order, whether it was.

    `given` are the ids that came with the rows; the others were made for them. `column` is any column of the log. All
    new rows are appended, or none: raise LogUnavailableError then. A killed process leaves nothing that a request sent
    again would not put right.
    """
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row_id(row), row)
    with log.exclusive():
        try:
            known = _known(log, {i: row_time(first[i]) for i in given}, column)
        except OSError as error:
            raise log.unavailable(error) from error
        new = [row for i, row in first.items() if i not in known]
        if new:
            log.append(new)
    return [row is first[row_id(row)] and row_id(row) not in known for row in rows]


def _known(log: AppendLog, times: Mapping[str, Micros], column: str) -> set[str]:
    """Return which of these ids are in the log; the others are in its index from now on."""
    own = set(filter(may_be_own, times))  # ours are not in the index
    if not own and log.ids.add(times):
        return set()
    known = set(log.find(own | log.ids.times(times).keys(), column))
    log.ids.put({i: time for i, time in times.items() if i not in known})
    return known
