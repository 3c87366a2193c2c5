"""The gate of a rollback that an alert requests: whether the labels show that the former version is better."""

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from flows.registry.versions import Champion
from flows.training.answers import Answers
from flows.training.evaluation import ask
from flows.training.sample import answers_in, sample_of
from flows.training.scores import Scores
from flows.training.tasks import TASKS
from monitoring.contract.config import Config, Window
from monitoring.contract.history import Scored
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.times import Micros

SIGNIFICANCE_LEVEL = 0.05  # of the paired test


@dataclass(frozen=True)
class VersionComparison:
    """The champion's logged answers and the former version's predictions on the same labelled rows.

    `gain` is what the former version adds, `p_value` that of its adding nothing; `told` says both as a sentence.
    """

    champion: Scored
    former: Scored
    rows: int
    gain: float
    p_value: float
    told: str

    @property
    def favours_former(self) -> bool:
        """Say whether the former version is significantly better."""
        return self.gain > 0 and self.p_value <= SIGNIFICANCE_LEVEL

    def describe(self) -> str:
        """Return both scores as a sentence."""
        return self.told


def compare_versions(
    layout: Layout, config: Config, champion: str, former: Champion, after: Micros | None
) -> VersionComparison | None:
    """Compare the champion's logged answers with the former version's predictions; None if no such row has a label.

    Rows are the newest `retrain.rows` after the reference. The answers are those in the log, so that a champion whose
    artifact is broken can be compared too.
    """
    model = config.model
    task = TASKS[model.task]
    table = read_rows(layout, model, Window(rows=config.retrain.rows), after=after).table
    table = table.filter(pc.equal(table["model_version"], champion))
    table = table.filter(task.usable(table[model.target], model))
    if not len(table):
        return None
    sample = sample_of(table, model)
    logged = answers_in(table[model.prediction], model)
    given = Answers(sample.labels, logged, np.empty((len(logged), 0)), ())
    other = ask(former.onnx, sample)
    gain, p_value = task.compare(given, other)
    was, now, test = task.describe_pair(given, other)
    return VersionComparison(
        champion=_scored(champion, task.score(given)),
        former=_scored(former.version, task.score(other)),
        rows=len(sample.labels),
        gain=gain,
        p_value=p_value,
        told=(
            f"on {len(logged)} labelled rows that version {champion} answered it {was}, and version {former.version} "
            f"{now} ({test} p = {p_value:.2g})"
        ),
    )


def _scored(version: str, scores: Scores) -> Scored:
    return Scored.model_validate({"version": version, **scores.values})
