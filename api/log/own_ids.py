"""Ids that this service makes: UUIDs of version 7, which carry their row's time, with an end that tells them."""

from uuid_utils import uuid7

from monitoring.contract.prediction_ids import id_milliseconds
from monitoring.contract.times import Micros

_END = "d10c"  # of 65,536 UUIDs of version 7 that somebody else makes, one ends so: it costs a look into the log


def new_id(time: Micros) -> str:
    """Return a new id of a row of that time."""
    return str(uuid7(nanoseconds=time * 1000))[: -len(_END)] + _END


def may_be_own(prediction_id: str) -> bool:
    """Say whether an id may be one of ours."""
    return prediction_id.endswith(_END) and id_milliseconds(prediction_id) is not None
