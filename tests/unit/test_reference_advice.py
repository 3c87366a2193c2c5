"""What `check-config` advises of a reference that is no error and will be trouble."""

import pandas as pd
import pyarrow as pa
import pytest
import yaml

from monitoring.contract.reference import Reference
from monitoring.offline.reference_advice import MISSING_ALERT, advise_of_reference
from tests.processes import ROOT
from tests.unit.mixed import tips, trip_rows, trips


def _said(frame: pd.DataFrame, config: object = None) -> str:
    reference = Reference(pa.Table.from_pandas(frame, preserve_index=False), "", None, "user", None)
    return "\n".join(advise_of_reference(reference, config or trips()))  # type: ignore[arg-type]


@pytest.fixture
def rows() -> pd.DataFrame:
    return pa.table(trip_rows(1_000, 1)).to_pandas()


def test_a_sound_reference_needs_no_advice(rows: pd.DataFrame) -> None:
    assert _said(rows) == ""
    assert _said(rows, tips()) == ""


def test_an_id_is_no_category(rows: pd.DataFrame) -> None:
    rows["zone"] = [f"trip {n}" for n in range(1_000)]
    assert "1,000 of the 1,000 levels of zone come once, so about 100% of later rows" in _said(rows)


def test_labels_that_do_not_vary_are_told(rows: pd.DataFrame) -> None:
    """Of a regression and of categories; also a category that never comes."""
    assert "all are 7.0: nothing can be learned" in _said(rows.assign(minutes=7.0))
    assert "all are no: nothing can be learned" in _said(rows.assign(tip="no"), tips())
    assert _said(rows.assign(minutes=None)) == ""


def test_missing_values_that_are_usual_are_told_beside_the_rules_threshold(rows: pd.DataFrame) -> None:
    """And the threshold is the rule's."""
    rows.loc[:299, "zone"] = None
    said = _said(rows, trips(window={"rows": 1000}))
    assert "misses about 3" in said
    assert f"DataQualityIssue fires above {MISSING_ALERT}" in said
    groups = yaml.safe_load((ROOT / "monitoring/alert_rules/model_alerts.yml").read_text())["groups"]
    rule = next(rule for group in groups for rule in group["rules"] if rule.get("alert") == "DataQualityIssue")
    assert rule["expr"] == f"missing_values > {MISSING_ALERT}"
