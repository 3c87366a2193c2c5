"""The gate of a rollback that an alert requests: whether the labels show that the former version is better."""

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

SIGNIFICANCE_LEVEL = 0.05  # of McNemar's test


@dataclass(frozen=True)
class VersionComparison:
    """The champion's logged answers and the former version's predictions on the same labelled rows."""

    champion: Scored
    former: Scored
    rows: int
    p_value: float

    @property
    def favours_former(self) -> bool:
        """Say whether the former version is right significantly more often."""
        return self.former.accuracy > self.champion.accuracy and self.p_value <= SIGNIFICANCE_LEVEL

    def describe(self) -> str:
        """Return both accuracies as a sentence."""
        return (
            f"of {self.rows} labelled rows that version {self.champion.version} answered it was right on "
            f"{self.champion.accuracy:.1%}, and version {self.former.version} is on {self.former.accuracy:.1%} "
            f"(McNemar's p = {self.p_value:.2g})"
        )


def compare_versions(
    layout: Layout, config: Config, champion: str, former: Champion, after: Micros | None
) -> VersionComparison | None:
    """Compare the champion's logged answers with the former version's predictions; None if no such row has a label.

    Rows are the newest `retrain.rows` after the reference. The answers are those in the log, so that a champion whose
    artifact is broken can be compared too.
    """
    model = config.model
    table = read_rows(layout, model, Window(rows=config.retrain.rows), after=after).table
    table = table.filter(pc.equal(table["model_version"], champion))
    table = table.filter(pc.is_in(table[model.target], value_set=pa.array(model.categories)))
    if not len(table):
        return None
    sample = sample_of(table, model)
    answered = np.array(table[model.prediction].to_pylist(), dtype=object)
    predicted, _ = former.onnx.predict(sample.features)
    return VersionComparison(
        champion=_scored(champion, answered, sample.labels),
        former=_scored(former.version, predicted, sample.labels),
        rows=len(sample.labels),
        p_value=mcnemar(answered == sample.labels, predicted == sample.labels),
    )


def _scored(version: str, predicted: Labels, labels: Labels) -> Scored:
    present = sorted(set(labels))
    macro_f1 = f1_score(labels, predicted, labels=present, average="macro", zero_division=0)
    return Scored(version=version, accuracy=float(np.mean(predicted == labels)), macro_f1=float(macro_f1))
