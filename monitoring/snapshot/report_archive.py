"""The reports on disk: for each an Evidently HTML page and the same as JSON, the newest few kept."""

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from monitoring.contract.plain_files import OddEntryError, discard, list_plain, read_plain
from monitoring.contract.storage import replaced
from monitoring.snapshot.snapshot import Snapshot

_ID = re.compile(r"[0-9]{8}T[0-9]{6}\.[0-9]{3}Z-(passing|failing)-[0-9]+")


@dataclass(frozen=True)
class KeptReport:
    """A report's id, and what the id says."""

    id: str
    taken_at: datetime
    verdict: str
    rows: int


class ReportArchive:
    """A folder of reports. The id says when, which verdict and on how many rows: listing opens no file."""

    def __init__(self, folder: Path, kept: int) -> None:
        self._folder = folder
        self._kept = kept

    def write(self, snapshot: Snapshot, html: str) -> str:
        """Keep a report, drop the oldest beyond the limit, and return the new one's id."""
        moment = snapshot.taken_at.strftime("%Y%m%dT%H%M%S.") + f"{snapshot.taken_at.microsecond // 1000:03d}Z"
        name = f"{moment}-{snapshot.verdict}-{snapshot.rows}"
        for suffix, content in ((".json", to_json(snapshot)), (".html", html)):  # listed once its page is there
            with replaced(self._folder / f"{name}{suffix}") as temporary:
                temporary.write_text(content, encoding="utf-8")
        for old in self.entries()[self._kept :]:
            for suffix in (".html", ".json"):
                discard(self._folder / f"{old.id}{suffix}")
        return name

    def entries(self) -> list[KeptReport]:
        """List the reports, newest first."""
        names = sorted((p.stem for p in list_plain(self._folder, "*.html") if _ID.fullmatch(p.stem)), reverse=True)
        return [_parse(name) for name in names]

    def read(self, name: str, suffix: str) -> str | None:
        """Return a report's `.html` or `.json`; None if there is no such report."""
        if not _ID.fullmatch(name):
            return None
        try:
            return read_plain(self._folder / f"{name}{suffix}").decode()
        except (FileNotFoundError, OddEntryError):
            return None


def _parse(name: str) -> KeptReport:
    moment, verdict, rows = name.split("-")
    taken_at = datetime.strptime(f"{moment}+0000", "%Y%m%dT%H%M%S.%fZ%z")
    return KeptReport(name, taken_at, verdict, int(rows))


def since(entries: Sequence[KeptReport], verdict: str) -> datetime | None:
    """Return when a verdict began that still holds; None if the kept reports, the newest first, do not know it."""
    same = [entry.taken_at for entry in itertools.takewhile(lambda entry: entry.verdict == verdict, entries)]
    return same[-1] if same else None


def to_json(snapshot: Snapshot) -> str:
    """Write a snapshot as JSON at full precision; what is not a finite number is null."""
    content = {"verdict": snapshot.verdict, **dataclasses.asdict(snapshot)}
    # keys that stay as they were first written, whatever the fields are called now
    content["judgement"] = content.pop("assessment")
    if drift := content["drift"]:
        drift["standing"], drift["findings"] = drift.pop("detector"), drift.pop("attribution")
    return json.dumps(_plain(content), indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value
