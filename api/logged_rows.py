"""What becomes of rows that another service predicted: each id is logged once, in its own time's place.

A row from the future is dated now: the newest rows are the window, and it would stay there for long.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from api.log.append_once import append_once
from api.log.own_ids import new_id
from api.metrics import ROW_OUTCOMES
from api.sent_rows import SentRow
from api.service import Service
from monitoring.contract.schemas import Row, prediction_row, row_id
from monitoring.contract.times import Micros, from_microseconds


def take_rows(service: Service, sent: Sequence[SentRow]) -> dict[str, Any]:
    """Log a request's rows that are new, all or none, and return the answer: per row, in the order sent, its outcome.

    Raise LogUnavailableError if they cannot be logged.
    """
    now = service.clock.now()
    sent = _newest_labels(sent)
    rows = [_row(one, now) for one in sent]
    given = {one.prediction_id for one in sent if one.prediction_id is not None}
    new = append_once(service.predictions, rows, given, service.config.model.target)
    results = [_result(n, *item) for n, item in enumerate(zip(sent, rows, new, [now] * len(rows), strict=True))]
    counts = Counter(result["status"] for result in results)
    service.metrics.logged(counts)
    return {**{outcome: counts[outcome] for outcome in ROW_OUTCOMES}, "results": results}


def _newest_labels(sent: Sequence[SentRow]) -> Sequence[SentRow]:
    """Return the rows with the last label that each id has among them, as the newest counts everywhere."""
    ids = [one.prediction_id for one in sent if one.prediction_id is not None]
    if len(set(ids)) == len(ids):
        return sent
    newest = {one.prediction_id: one.target for one in sent if one.target is not None}
    return [one if one.prediction_id is None else one._replace(target=newest.get(one.prediction_id)) for one in sent]


def _row(sent: SentRow, now: Micros) -> Row:
    time = now if sent.timestamp is None else min(sent.timestamp, now)
    return prediction_row(
        prediction_id=new_id(time) if sent.prediction_id is None else sent.prediction_id,
        timestamp=time,
        features=sent.values,
        prediction=sent.prediction,
        confidence=sent.confidence,
        model_version=sent.model_version,
        target=sent.target,
        probabilities=sent.probabilities,
    )


def _result(number: int, sent: SentRow, row: Row, new: bool, now: Micros) -> dict[str, Any]:  # noqa: FBT001
    result = {"prediction_id": row_id(row), "status": "logged" if new else "known"}
    if new and sent.timestamp is not None and sent.timestamp > now:
        ahead = (sent.timestamp - now) / 1e6
        detail = f"is {ahead:,.3f} s ahead of this clock; the row is dated now, {from_microseconds(now).isoformat()}"
        result |= {"field": f"rows[{number}].timestamp", "detail": detail}
    return result
