"""The drift watch's state, as the monitor writes it and a retraining reads it."""

import json
from pathlib import Path
from typing import Any

import pytest

from monitoring.contract.config import Config
from monitoring.contract.drift_state import Alarm, DriftState, drift_key, drift_state_path, read_drift_state
from monitoring.contract.layout import Layout
from monitoring.contract.reference import Reference
from monitoring.contract.times import Micros
from tests.unit.flows_fixtures import draw_wine
from tests.unit.models import wine

GOOD = {"reference": "k", "since": 5, "alarm": {"kind": "numbers", "onset": 7, "noticed": 9}, "cycle_seconds": 86400}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return wine(tmp_path)


def read(layout: Layout, content: Any, key: str = "k") -> DriftState | None:
    path = drift_state_path(layout)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_drift_state(layout, key)


def test_the_state_is_read_as_it_was_written(layout: Layout) -> None:
    """With an alarm and a cycle, and without either; a cycle may be absent."""
    alarm = Alarm("numbers", Micros(7), Micros(9))
    assert read(layout, GOOD) == DriftState(Micros(5), alarm, 86400.0)
    assert read(layout, {"reference": "k", "since": -1, "alarm": None}) == DriftState(Micros(-1))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({**GOOD, "reference": "another"}, id="of another reference"),
        pytest.param({**GOOD, "since": 9_000_000_000_000_000}, id="from the future"),
        pytest.param({**GOOD, "cycle_seconds": -1}, id="no cycle"),
        pytest.param({**GOOD, "alarm": {"kind": "numbers"}}, id="no onset"),
        pytest.param({**GOOD, "alarm": [1]}, id="no alarm"),
        pytest.param("{", id="torn"),
        pytest.param([], id="a list"),
    ],
)
def test_a_state_that_is_none_is_no_state(layout: Layout, content: Any) -> None:
    """Nobody then knows since when the data has drifted."""
    assert read(layout, content) is None


def test_no_file_is_no_state(layout: Layout) -> None:
    """As before the monitor's first look."""
    assert read_drift_state(layout, "k") is None


def test_the_key_is_of_reference_features_and_categories(config: Config) -> None:
    """Each makes another one."""
    reference = Reference(draw_wine(3), "digest", None, "user", None)
    other = config.model.model_copy(update={"categories": ("red", "rosé")})
    keys = {
        drift_key(reference, config.model),
        drift_key(reference, other),
        drift_key(Reference(draw_wine(3), "another", None, "user", None), config.model),
    }
    assert len(keys) == 3
