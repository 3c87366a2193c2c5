"""What the loop has done: a record per run of a flow, written by the flows, shown by the monitor."""

import contextlib
import re
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from monitoring.contract.layout import Layout
from monitoring.contract.plain_files import OddEntryError, discard, list_plain, read_plain
from monitoring.contract.storage import replaced

KEPT = 200
FlowName = Literal["bootstrap", "retrain", "rollback", "register", "propose"]  # the last two are commands
_NAME = re.compile(r"[0-9]{20}-[0-9a-f-]+\.json")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class TriggeringAlert(_Part):
    """The alert that asked for a run."""

    name: str
    starts_at: AwareDatetime


class Scored(_Part):
    """A version on the held-out rows: a classification's accuracy and F1, or a regression's errors."""

    version: str
    accuracy: float | None = None
    macro_f1: float | None = None
    mae: float | None = None
    rmse: float | None = None


class Episode(_Part):
    """A run of a flow that has ended: what asked for it, what it compared, and what came of it."""

    flow: FlowName
    flow_run_id: str
    started_at: AwareDatetime
    ended_at: AwareDatetime
    outcome: str
    message: str
    asked: TriggeringAlert | None = None
    champion: Scored | None = None
    candidate: Scored | None = None
    rows: int | None = None  # held out
    version: str | None = None  # the champion when the run had ended
    reference_digest: str | None = None  # of the reference when the run had ended


def keep_episode(layout: Layout, episode: Episode) -> None:
    """Write an episode down, and drop the oldest beyond the newest KEPT."""
    moment = int(episode.ended_at.timestamp() * 1e6)
    with replaced(_folder(layout) / f"{moment:020d}-{episode.flow_run_id}.json") as temporary:
        temporary.write_text(episode.model_dump_json(indent=1), encoding="utf-8")
    for path in _newest_first(layout)[KEPT:]:
        discard(path)


def read_history(layout: Layout, limit: int = 20) -> list[Episode]:
    """Return the newest episodes, the newest first; a file that is none is passed over."""
    found = []
    for path in _newest_first(layout)[:limit]:
        with contextlib.suppress(ValidationError, OddEntryError, OSError):
            found.append(Episode.model_validate_json(read_plain(path)))
    return found


def _folder(layout: Layout) -> Path:
    return layout.root / "_history"


def _newest_first(layout: Layout) -> list[Path]:
    return sorted((p for p in list_plain(_folder(layout), "*.json") if _NAME.fullmatch(p.name)), reverse=True)
