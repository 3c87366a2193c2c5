"""What `check-config` advises where a constant answer is right on most rows."""

from typing import Any

import pyarrow as pa

from monitoring.contract.config import Config
from monitoring.contract.reference import Reference
from monitoring.offline.balance import advise
from tests.unit.models import loans


def _said(config: Config, share: float) -> str:
    rare = round(1000 * share)
    labels = ["yes"] * rare + ["no"] * (1000 - rare)
    reference = Reference(pa.table({config.model.target: labels}), "", None, "user", None)
    return "\n".join(advise(reference, config))


def _config(tests: list[Any], metric: str = "accuracy", **model: Any) -> Config:
    base = loans()
    retrain = base.retrain.model_dump() | {"metric": metric}
    changed = base.model.model_dump() | {"categories": ["yes", "no"], "positive": None, "threshold": None} | model
    return loans(model=changed, tests=tests, retrain=retrain)


def test_twelve_percent_of_positives_are_told() -> None:
    """Which accuracy a constant answer has, that a test passes with it, whose F1 it is, and what to take instead."""
    said = _said(_config([{"TestAccuracyScore": {"gte": 0.85}}, "TestF1Score"]), 0.12)
    assert "who always answers no is right on 88.0% of the reference's labelled rows" in said
    assert "TestAccuracyScore (gte 0.85) passes with that alone" in said
    assert "Precision, recall and F1 are those of no: for the rarer one set model.positive: yes." in said
    assert "retrain.metric roc_auc or log_loss" in said
    assert "TestRocAuc and TestLogLoss do." in said


def test_what_is_in_order_is_not_told() -> None:
    """With scores of the rare category and of probabilities there is the share alone; equal categories need none."""
    said = _said(_config(["TestRocAuc", {"TestAccuracyScore": {"gte": 0.9}}], "roc_auc", positive="yes"), 0.12)
    assert said == "  balance: who always answers no is right on 88.0% of the reference's labelled rows."
    assert _said(_config([{"TestAccuracyScore": {"gte": 0.6}}]), 0.5) == ""
