"""The trial of a challenger over a log's labels: what it loses beside the champion, and what follows from that.

In the shadow both have answered each row, and a difference is that of the two losses. A loss is 1 for a wrong category
and 0 for a right one; of a regression it is the absolute error, as a share of the trial's bound. A row that the
challenger failed at counts as lost.
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from monitoring.alarms.labelled_rows import LabelledRows
from monitoring.alarms.outcome_blocks import blocks_of
from monitoring.alarms.trial_test import TrialTest
from monitoring.contract.config import Config
from monitoring.contract.layout import Layout
from monitoring.contract.parts import list_parts
from monitoring.contract.plain_files import OddEntryError, read_plain
from monitoring.contract.reference import Reference
from monitoring.contract.row_lookup import find_rows
from monitoring.contract.storage import replaced
from monitoring.contract.tasks import TaskName
from monitoring.contract.times import microseconds
from monitoring.contract.trial import Decision, Ruling, Trial, read_ruling, read_trial, write_ruling

log = structlog.get_logger(__name__)

Floats = npt.NDArray[np.float64]

UPDATE_ROWS = 200_000  # about so many rows, and as many labels, are taken in an update at most
PATIENCE = 120.0  # seconds that a labelled row waits for the challenger's answer: it is asked in the background
MOST_WAITING = 50_000  # labelled rows that wait for it
SAVED_EVERY = 60.0  # seconds: of so long a time a restart reads the log again


@dataclass(frozen=True)
class TrialVerdict:
    """The state of a trial.

    `answered` rows are those that the challenger has answered, `rows` those of them that have a label, and `unanswered`
    the labelled ones that it was never asked for. Losses are accuracies' complements, or mean absolute errors in the
    target's unit; `score_promote` and `score_drop` are log10 of the evidence, and `threshold` is what decides.
    """

    trial: Trial
    answered: int
    rows: int
    unanswered: int
    needed: int
    champion_loss: float | None
    challenger_loss: float | None
    score_promote: float
    score_drop: float
    threshold: float
    block: float
    decision: Decision | None = None
    because: str = ""

    @property
    def difference(self) -> float | None:
        """Return what the challenger loses less; None before the first labelled row."""
        if self.champion_loss is None or self.challenger_loss is None:
            return None
        return self.champion_loss - self.challenger_loss


class TrialWatch:
    """Follows the trial that is on, if one is, and rules on it."""

    def __init__(self, layout: Layout, config: Config, reference: Reference) -> None:
        self._layout, self._config, self._reference = layout, config, reference
        self._evidence: Evidence | None = None
        self._saved_at = time.monotonic()

    def update(self) -> TrialVerdict | None:
        """Take in the labels since the last update; None while no trial is on.

        An update that raises has taken nothing, and the next one tries again.
        """
        trial = read_trial(self._layout)
        if trial is None:
            self._evidence = None
            return None
        if self._evidence is None or self._evidence.trial != trial:
            self._evidence = self._begin(trial)
        self._evidence.take()
        verdict = self._ruled(self._evidence)
        if time.monotonic() - self._saved_at >= SAVED_EVERY:
            self._save()
        return verdict

    def _begin(self, trial: Trial) -> "Evidence":
        """Go on from what is kept of this very trial, or begin anew."""
        try:
            kept = json.loads(read_plain(self._path))
            if kept["about"] == trial.model_dump(mode="json"):
                return Evidence(self._layout, self._config, trial, kept["block"], kept)
        except (OSError, OddEntryError, ValueError, KeyError, TypeError):  # none is kept, or it is damaged
            pass
        blocks = blocks_of(self._reference, self._config.model)
        return Evidence(self._layout, self._config, trial, blocks.seconds if blocks else 0.0)

    def _ruled(self, evidence: "Evidence") -> TrialVerdict:
        """Return the verdict with its decision, which is written down once and stays."""
        trial = evidence.trial
        ruling = read_ruling(self._layout, trial)
        verdict = evidence.verdict()
        if ruling is None and (found := _rule(verdict, self._config)):
            ruling = Ruling(trial=trial, decision=found[0], because=found[1])
            self._save()
            write_ruling(self._layout, ruling)
            log.info("trial_decided", version=trial.version, decision=ruling.decision, because=ruling.because)
        return verdict if ruling is None else replace(verdict, decision=ruling.decision, because=ruling.because)

    def _save(self) -> None:
        if self._evidence is not None:
            with replaced(self._path) as temporary:
                temporary.write_text(json.dumps(self._evidence.to_dict()), encoding="utf-8")
        self._saved_at = time.monotonic()

    @property
    def _path(self) -> Path:
        return self._layout.root / "_rollout/_evidence.json"


class Evidence:
    """What labels have said so far in one trial."""

    def __init__(
        self, layout: Layout, config: Config, trial: Trial, block: float, kept: Mapping[str, Any] | None = None
    ) -> None:
        self.trial = trial
        self._layout, self._config, self._model = layout, config, config.model
        kept = kept or {}
        self._test = TrialTest(block, kept.get("test"))
        self._labelled = LabelledRows(layout, config.model, microseconds(trial.began), kept.get("labelled"))
        self._lost = tuple(map(float, kept.get("lost", (0.0, 0.0))))  # by the champion, by the challenger
        self._unanswered = int(kept.get("unanswered", 0))
        self._waiting: list[tuple[float, pa.Table]] = []  # rows without the challenger's answer, and since when
        values = config.model.rules.values
        self._shadow = pa.schema(
            [("prediction_id", pa.string()), (config.model.prediction, values), ("model_version", pa.string())]
        )
        self._losses = LOSSES[config.model.task]

    def take(self) -> None:
        """Take in the labels since the last call; what one that raises has not come to, the next one takes."""
        came, _ = self._labelled.take(UPDATE_ROWS)
        trial, now = self.trial, time.monotonic()
        came = came.filter(pc.fill_null(pc.equal(came["model_version"], trial.champion), fill_value=False))
        if len(came):
            self._waiting.append((now, came))
        for _ in range(len(self._waiting)):
            since, rows = self._waiting[0]
            left = self._pair(rows)
            del self._waiting[0]
            if len(left) and now - since < PATIENCE and sum(len(t) for _, t in self._waiting) < MOST_WAITING:
                self._waiting.append((since, left))
            else:
                self._unanswered += len(left)

    def _pair(self, rows: pa.Table) -> pa.Table:
        """Bet on the rows that the challenger has answered too, and return the others."""
        found = find_rows(self._layout.shadow, rows["prediction_id"].to_pylist(), self._shadow)
        found = found.filter(pc.equal(found["model_version"], self.trial.version))
        index = pc.index_in(rows["prediction_id"], value_set=found["prediction_id"].combine_chunks())
        paired, theirs = rows.filter(pc.is_valid(index)), found.take(index.drop_null())
        target, prediction = paired[self._model.target], self._model.prediction
        losses = [self._losses(answers[prediction], target, self.trial.bound or 1.0) for answers in (paired, theirs)]
        self._test.add(losses[0] - losses[1], paired["timestamp"].cast(pa.int64()).to_numpy())
        self._lost = tuple(lost + float(more.sum()) for lost, more in zip(self._lost, losses, strict=True))
        return rows.filter(pc.is_null(index))

    def verdict(self) -> TrialVerdict:
        """Return the state, undecided."""
        retrain, rows, unit = self._config.retrain, self._test.rows, self.trial.bound or 1.0
        champion, challenger = (lost / rows * unit if rows else None for lost in self._lost)
        return TrialVerdict(
            trial=self.trial,
            answered=_rows_since(self._layout, self.trial),
            rows=rows,
            unanswered=self._unanswered,
            needed=retrain.minimum_labels,
            champion_loss=champion,
            challenger_loss=challenger,
            score_promote=self._test.score("promote"),
            score_drop=self._test.score("drop"),
            threshold=-math.log10(retrain.trial.level),
            block=self._test.block,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the state, as JSON takes it; rows that wait for the challenger's answer are not in it."""
        return {
            "about": self.trial.model_dump(mode="json"),
            "block": self._test.block,
            "test": self._test.to_dict(),
            "labelled": self._labelled.to_dict(),
            "lost": list(self._lost),
            "unanswered": self._unanswered + sum(len(rows) for _, rows in self._waiting),
        }


def _rule(found: TrialVerdict, config: Config) -> tuple[Decision, str] | None:
    """Return what a trial has come to, and why; None if it has to go on."""
    retrain, trial = config.retrain, found.trial
    if retrain.rollout != trial.mode:
        return "drop", f"retrain.rollout is {retrain.rollout} now, and the trial was one in the {trial.mode}"
    if found.score_drop >= found.threshold:
        return "drop", f"it is worse: {describe(found, config)}"
    if found.score_promote >= found.threshold and found.rows >= retrain.minimum_labels:
        return "promote", f"it is better: {describe(found, config)}"
    spent = "so many labels (retrain.trial.labels)" if found.rows >= retrain.trial.labels else ""
    if datetime.now(UTC) - trial.began >= retrain.trial.time:
        spent = "so long a time (retrain.trial.time)"
    if spent:
        return "drop", f"{spent} did not show that it is better: {describe(found, config)}"
    return None


def describe(found: TrialVerdict, config: Config) -> str:
    """Say how both did, as part of a sentence."""
    if found.champion_loss is None or found.challenger_loss is None:
        return "no row that both have answered has a label"
    if config.model.task == "regression":
        told = f"it is off by {found.challenger_loss:.4g} on average, against {found.champion_loss:.4g}"
    else:
        told = f"an accuracy of {1 - found.challenger_loss:.3f} against {1 - found.champion_loss:.3f}"
    return f"{told} of version {found.trial.champion}, on {found.rows} labelled rows"


def _rows_since(layout: Layout, trial: Trial) -> int:
    """Return how many rows the parts hold that the challenger has answered: of the first part all."""
    began = microseconds(trial.began)
    return sum(part.rows for part in list_parts(layout.shadow)[0] if part.first >= began)


def _wrong(predictions: pa.ChunkedArray, targets: pa.ChunkedArray, _bound: float) -> Floats:
    right = pc.fill_null(pc.equal(predictions, targets), fill_value=False)
    losses: Floats = 1.0 - right.cast(pa.float64()).to_numpy()
    return losses


def _off(predictions: pa.ChunkedArray, targets: pa.ChunkedArray, bound: float) -> Floats:
    errors = np.abs(pc.subtract(predictions, targets).cast(pa.float64()).to_numpy().astype(np.float64)) / bound
    losses: Floats = np.where(np.isnan(errors), 1.0, errors.clip(max=1.0))
    return losses


LOSSES: Mapping[TaskName, Any] = {"classification": _wrong, "regression": _off}
