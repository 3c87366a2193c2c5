"""The loop's history: what is kept is read again, the newest first, and bounded."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.run_history import RunRecord, requesting_alert
from monitoring.contract import history
from monitoring.contract.history import Episode, Scored, TriggeringAlert, keep_episode, read_history
from monitoring.contract.layout import Layout

START = datetime(2026, 11, 24, 8, tzinfo=UTC)


def episode(number: int) -> Episode:
    return Episode(
        flow="retrain",
        flow_run_id=f"{number:08d}-aaaa",
        started_at=START,
        ended_at=START + timedelta(minutes=number),
        outcome="Promoted",
        message="version 2 is champion",
        asked=TriggeringAlert(name="ModelDrift", starts_at=START),
        champion=Scored(version="1", accuracy=0.5, macro_f1=0.4),
        version="2",
    )


def test_episodes_come_back_the_newest_first(tmp_path: Path) -> None:
    """What was kept is what is read, whatever the order of writing."""
    layout = Layout(tmp_path)
    assert read_history(layout) == []
    for number in (2, 1, 3):
        keep_episode(layout, episode(number))
    assert read_history(layout, limit=2) == [episode(3), episode(2)]


def test_the_oldest_go(tmp_path: Path) -> None:
    """The folder holds a bounded number of episodes."""
    layout = Layout(tmp_path)
    for number in range(history.KEPT + 3):
        keep_episode(layout, episode(number))
    assert len(list((tmp_path / "_history").iterdir())) == history.KEPT
    assert read_history(layout, limit=1) == [episode(history.KEPT + 2)]


def test_a_damaged_file_hides_no_other(tmp_path: Path) -> None:
    """A file that is no episode, or is another's, is passed over."""
    layout = Layout(tmp_path)
    keep_episode(layout, episode(1))
    (tmp_path / "_history" / f"{'9' * 20}-aaaa.json").write_text("{")
    (tmp_path / "_history" / "notes.json").write_text("{}")
    assert read_history(layout) == [episode(1)]


def test_a_promotion_that_no_run_has_told_of_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was cut off leaves no episode; the next start does, unless one tells of this version and reference."""
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "00000000-0000-4000-8000-000000000001")
    layout = Layout(tmp_path)
    keep_episode(layout, episode(1))

    def told_after_a_start(version: str) -> list[tuple[str, str | None]]:
        record = RunRecord(layout, "bootstrap", None)
        record.version = version
        record.catch_up()
        return [(one.outcome, one.version) for one in read_history(layout)]

    assert told_after_a_start("2") == [("Promoted", "2")]
    for _ in range(2):
        assert told_after_a_start("3") == [("Recovered", "3"), ("Promoted", "2")]
    layout.reference.write_bytes(b"another")
    assert told_after_a_start("3")[:2] == [("Recovered", "3"), ("Recovered", "3")]


@pytest.mark.parametrize(
    "alert",
    [
        pytest.param(None, id="none"),
        pytest.param({}, id="empty"),
        pytest.param({"alerts": []}, id="no alerts"),
        pytest.param({"alerts": ["by hand"]}, id="text"),
        pytest.param({"alerts": {"name": "x"}}, id="no list"),
        pytest.param({"alerts": [{"name": "x", "startsAt": "yesterday"}]}, id="no time"),
        pytest.param(["by hand"], id="a list"),
    ],
)
def test_a_run_that_a_person_started_needs_no_alert(alert: Any) -> None:
    """Whatever stands in the parameter, a run is not failed by it."""
    assert requesting_alert(alert) is None


def test_the_alert_that_asked_is_named() -> None:
    """As the trigger describes it."""
    found = requesting_alert({"alerts": [{"name": "ModelDrift", "startsAt": START.isoformat()}]})
    assert found == TriggeringAlert(name="ModelDrift", starts_at=START)
