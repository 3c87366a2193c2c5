"""The gate of a rollback that an alert asks for: labels must show that the former version is better."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.metrics import f1_score

from flows.registry.versions import Champion
from flows.training.evaluation import mcnemar
from flows.training.pipeline import Labels, sample_of
from monitoring.contract.config import Config, Window
from monitoring.contract.history import Scored
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.times import Micros

CERTAINTY = 0.05  # the largest p-value of McNemar's test that is no chance


@dataclass(frozen=True)
class VersionComparison:
    """What the champion has answered, and what the former version says, of the same labelled rows."""

    champion: Scored
    former: Scored
    rows: int
    p_value: float

    @property
    def former_is_better(self) -> bool:
        """Say whether the former version is right more often, beyond chance."""
        return self.former.accuracy > self.champion.accuracy and self.p_value <= CERTAINTY

    def describe(self) -> str:
        """Say who was right how often."""
        return (
            f"of {self.rows} labelled rows that version {self.champion.version} answered it was right on "
            f"{self.champion.accuracy:.1%}, and version {self.former.version} is on {self.former.accuracy:.1%} "
            f"(McNemar's p = {self.p_value:.2g})"
        )


def compare_versions(
    layout: Layout, config: Config, champion: str, former: Champion, after: Micros | None
) -> VersionComparison | None:
    """Compare the champion's own answers with the former version's; None if no such row has a label.

    Rows are the newest `retrain.rows` after the reference. The answers are those in the log, so that a champion whose
    artifact is broken is judged too.
    """
    model = config.model
    table = read_rows(layout, model, Window(rows=config.retrain.rows), after=after).table
    table = table.filter(pc.equal(table["model_version"], champion))
    table = table.filter(pc.is_in(table[model.target], value_set=pa.array(model.categories)))
    if not len(table):
        return None
    sample = sample_of(table, model)
    answered = np.array(table[model.prediction].to_pylist(), dtype=object)
    predicted, _ = former.predictor.predict(sample.features)
    return VersionComparison(
        champion=_scored(champion, answered, sample.labels),
        former=_scored(former.version, predicted, sample.labels),
        rows=len(sample.labels),
        p_value=mcnemar(answered == sample.labels, predicted == sample.labels),
    )


def _scored(version: str, predicted: Labels, labels: Labels) -> Scored:
    present = sorted(set(labels))
    macro_f1 = f1_score(labels, predicted.astype(object), labels=present, average="macro", zero_division=0)
    return Scored(version=version, accuracy=float(np.mean(predicted == labels)), macro_f1=float(macro_f1))
