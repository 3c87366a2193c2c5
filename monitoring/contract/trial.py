"""The trial of a challenger: a candidate that passed the gate and first answers beside the champion.

Two files under DATA_DIR/_rollout tell of it. The flows write `trial.json` when a trial begins and remove it when it
ends; the monitor, which finds from labels which of both is better, writes `ruling.json` when it has decided.
"""

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from monitoring.contract.layout import Layout
from monitoring.contract.plain_files import OddEntryError, discard, read_plain
from monitoring.contract.storage import replaced

OF_TRIAL = "ChallengerDecided"  # the alert that asks for a trial's end
Mode = Literal["shadow"]
Decision = Literal["promote", "drop"]


class Trial(BaseModel):
    """A challenger on trial: since when, how, and against which champion.

    `bound` is the largest error that counts, of a regression.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: str
    champion: str
    mode: Mode
    began: AwareDatetime
    bound: float | None = Field(default=None, gt=0)


class Ruling(BaseModel):
    """What a trial has come to, and why, as a sentence."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    trial: Trial
    decision: Decision
    because: str


Kept = TypeVar("Kept", Trial, Ruling)


def read_trial(layout: Layout) -> Trial | None:
    """Return the trial that is on; None if none is, or its file cannot be read."""
    return _read(_trial_path(layout), Trial)


def write_trial(layout: Layout, trial: Trial) -> None:
    """Say that a trial begins."""
    _write(_trial_path(layout), trial)


def remove_trial(layout: Layout) -> None:
    """Say that no trial is on."""
    for path in (_trial_path(layout), _ruling_path(layout)):
        discard(path)


def read_ruling(layout: Layout, trial: Trial) -> Ruling | None:
    """Return what the monitor has decided about this very trial; None if it has not."""
    found = _read(_ruling_path(layout), Ruling)
    return found if found is not None and found.trial == trial else None


def write_ruling(layout: Layout, ruling: Ruling) -> None:
    """Say how a trial is decided."""
    _write(_ruling_path(layout), ruling)


def _trial_path(layout: Layout) -> Path:
    return layout.root / "_rollout/trial.json"


def _ruling_path(layout: Layout) -> Path:
    return layout.root / "_rollout/ruling.json"


def _read(path: Path, kind: type[Kept]) -> Kept | None:
    try:
        return kind.model_validate_json(read_plain(path))
    except (OSError, OddEntryError, ValidationError):
        return None


def _write(path: Path, kept: Trial | Ruling) -> None:
    with replaced(path) as temporary:
        temporary.write_text(kept.model_dump_json(indent=1), encoding="utf-8")
