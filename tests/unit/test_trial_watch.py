"""The trial of a challenger in the monitor: what labels say of it, what is decided, and what page and metrics tell."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prometheus_client import CollectorRegistry

from monitoring.alarms.trial_test import TrialTest
from monitoring.alarms.trial_watch import TrialVerdict, TrialWatch
from monitoring.contract.config import Config, Trial
from monitoring.contract.layout import Layout
from monitoring.contract.parts import part_name
from monitoring.contract.reference import read_reference
from monitoring.contract.schemas import TIMESTAMP, shadow_schema
from monitoring.contract.times import microseconds
from monitoring.contract.trial import Trial as OnTrial
from monitoring.contract.trial import read_ruling, remove_trial, write_trial
from monitoring.page.page import create_app
from tests.unit.mixed import trip_rows, trips
from tests.unit.models import LOANS
from tests.unit.monitor_fixtures import START, keep_reference, label_rows, log_rows, make_rows, monitor_of

BEGAN = START - timedelta(seconds=1)
ROWS = 400


def on_trial(rollout: str = "shadow", **trial: object) -> Config:
    """Return the loans' config with a trial that no clock ends."""
    limits = Trial(**{"labels": 5000, "time": timedelta(days=9999), **trial})  # type: ignore[arg-type]
    retrain = LOANS.retrain.model_copy(update={"rollout": rollout, "trial": limits})
    return LOANS.model_copy(update={"retrain": retrain})


class Traffic:
    """Rows of version 1, and what version 2 answers in the shadow: right in seven, and in `share`, of ten."""

    def __init__(self, data: Path, config: Config, share: float, *, late: bool = False, seed: int = 5) -> None:
        self.data, self.config, self.layout = data, config, Layout(data)
        keep_reference(data, config, make_rows(config, 200), model_version="1")
        self.trial = OnTrial(version="2", champion="1", mode="shadow", began=BEGAN)
        write_trial(self.layout, self.trial)
        model, random = config.model, np.random.default_rng(seed)
        self.rows = make_rows(config, ROWS, seed=seed)
        self.labels = list(self.rows[model.target])
        if late:
            self.rows[model.target] = None
        self.ids = log_rows(data, config, self.rows)
        right = random.random(ROWS) < share
        other = {"no": "yes", "yes": "no"}
        self.answers = [label if r else other[label] for label, r in zip(self.labels, right, strict=True)]

    def answer(self, answers: list[str | None] | None = None, version: str = "2") -> None:
        """Log what the challenger answers."""
        times = [microseconds(START + timedelta(milliseconds=n)) for n in range(ROWS)]
        columns = {
            "prediction_id": self.ids,
            "timestamp": pa.array(times, TIMESTAMP),
            self.config.model.prediction: answers or self.answers,
            "model_version": [version] * ROWS,
        }
        self.layout.shadow.mkdir(parents=True, exist_ok=True)  # type: ignore[union-attr]
        path = self.layout.shadow / part_name(times[0], times[-1], ROWS, f"s{version}", 0)
        pq.write_table(pa.table(columns, schema=shadow_schema(self.config.model)), path)

    def watch(self) -> TrialWatch:
        return TrialWatch(self.layout, self.config, read_reference(self.layout, self.config.model))

    def look(self) -> TrialVerdict:
        found = self.watch().update()
        assert found is not None
        return found


def test_a_better_challenger_is_to_be_promoted_and_the_page_says_so(tmp_path: Path) -> None:
    """Ninety of a hundred against eighty-five: in figures, in words, and as a ruling that the flow reads."""
    traffic = Traffic(tmp_path, on_trial(), share=0.97)
    traffic.answer()
    monitor, registry = monitor_of(tmp_path, traffic.config)
    monitor.cycle()
    value = registry.get_sample_value
    assert value("rollout_labelled_rows") == ROWS
    assert value("rollout_rows") == ROWS
    assert value("rollout_decided", {"decision": "promote", "version": "2"}) == 1
    assert value("rollout_decided", {"decision": "drop", "version": "2"}) == 0
    lost = [value("rollout_loss", {"role": role}) for role in ("champion", "challenger")]
    model = traffic.config.model
    assert lost[0] == pytest.approx((traffic.rows[model.prediction] != traffic.rows[model.target]).mean())
    assert lost[1] == pytest.approx(np.mean([a != b for a, b in zip(traffic.answers, traffic.labels, strict=True)]))
    ruling = read_ruling(traffic.layout, traffic.trial)
    assert ruling is not None
    assert (ruling.decision, ruling.because[:12]) == ("promote", "it is better")
    page = create_app(monitor, CollectorRegistry(), lambda: True).test_client().get("/").text
    assert "Version 2 answers in the shadow since 2025-12-31 23:59:59 UTC, beside version 1" in page
    assert "400 of them with a label" in page
    assert "Decided: it becomes champion" in page
    remove_trial(traffic.layout)
    monitor.cycle()
    assert value("rollout_labelled_rows") is None
    assert "On trial" not in create_app(monitor, CollectorRegistry(), lambda: True).test_client().get("/").text


@pytest.mark.parametrize(
    ("share", "config", "because"),
    [
        pytest.param(0.6, on_trial(), "it is worse: an accuracy of 0.6", id="worse"),
        pytest.param(0.85, on_trial(labels=ROWS), "so many labels (retrain.trial.labels)", id="labels are spent"),
        pytest.param(0.85, on_trial(time=timedelta(days=1)), "so long a time (retrain.trial.time)", id="time is over"),
        pytest.param(0.97, on_trial("direct"), "retrain.rollout is direct now", id="the config has changed"),
    ],
)
def test_a_challenger_is_dropped_for_a_reason(tmp_path: Path, share: float, config: Config, because: str) -> None:
    """None stays on trial for ever."""
    traffic = Traffic(tmp_path, config, share)
    traffic.answer()
    found = traffic.look()
    assert found.decision == "drop"
    assert found.because.startswith(because)


def test_late_labels_and_late_answers_meet_once_over_restarts(tmp_path: Path) -> None:
    """A label that comes before the challenger's answer waits for it; what was kept is not counted again."""
    traffic = Traffic(tmp_path, on_trial(), share=0.85, late=True)
    watch = traffic.watch()
    assert watch.update().rows == 0  # type: ignore[union-attr]
    label_rows(tmp_path, traffic.config, traffic.ids, traffic.labels)
    assert watch.update().rows == 0  # type: ignore[union-attr]
    traffic.answer(version="9")  # of an earlier trial
    assert watch.update().rows == 0  # type: ignore[union-attr]
    traffic.answer()
    found = watch.update()
    assert found is not None
    assert (found.rows, found.unanswered) == (ROWS, 0)
    watch._save()
    again = traffic.look()
    assert (again.rows, again.score_promote) == (ROWS, found.score_promote)


def test_rows_that_the_challenger_fails_at_count_as_lost(tmp_path: Path) -> None:
    """Else one that answers only what is easy would look better than it is."""
    traffic = Traffic(tmp_path, on_trial(), share=1.0)
    traffic.answer([None if n % 2 else answer for n, answer in enumerate(traffic.answers)])
    found = traffic.look()
    assert found.challenger_loss == 0.5
    assert found.decision == "drop"


def test_errors_of_a_regression_are_compared_up_to_the_bound(tmp_path: Path) -> None:
    """In the label's unit; an error beyond the bound counts as that."""
    config = trips()
    layout, model = Layout(tmp_path), config.model
    random = np.random.default_rng(1)
    truth = random.normal(10, 2, ROWS)
    rows = pa.table(trip_rows(ROWS)).to_pandas()
    rows[model.prediction], rows[model.target] = truth + 2.0, truth
    keep_reference(tmp_path, config, rows, model_version="1")
    trial = OnTrial(version="2", champion="1", mode="shadow", began=datetime.now(UTC), bound=4.0)
    write_trial(layout, trial)
    start = datetime.now(UTC) + timedelta(seconds=1)
    ids = log_rows(tmp_path, config, rows, start)
    times = [microseconds(start + timedelta(milliseconds=n)) for n in range(ROWS)]
    answers = np.where(np.arange(ROWS) < 4, truth + 1e9, truth + 1.0)
    columns = [ids, pa.array(times, TIMESTAMP), answers, ["2"] * ROWS]
    layout.shadow.mkdir(parents=True)  # type: ignore[union-attr]
    name = part_name(times[0], times[-1], ROWS, "s", 0)
    pq.write_table(pa.table(columns, schema=shadow_schema(model)), layout.shadow / name)
    retrain = config.retrain.model_copy(update={"rollout": "shadow"})
    watched = config.model_copy(update={"retrain": retrain})
    found = TrialWatch(layout, watched, read_reference(layout, model)).update()
    assert found is not None
    assert found.champion_loss == pytest.approx(2.0)
    assert found.challenger_loss == pytest.approx((4 * 4.0 + 396 * 1.0) / 400)
    assert found.decision == "promote"


def test_blocks_of_time_are_judged_in_the_place_of_rows() -> None:
    """A block counts when a later one begins, in whatever batches its rows come."""
    random = np.random.default_rng(2)
    differences, times = random.choice([-1.0, 0.0, 1.0], 300), np.arange(300) * 1_000_000
    whole, parts = TrialTest(60.0), TrialTest(60.0)
    whole.add(differences, times)
    for place in range(0, 300, 7):
        parts = TrialTest(60.0, parts.to_dict())
        parts.add(differences[place : place + 7], times[place : place + 7])
    assert parts.score("promote") == pytest.approx(whole.score("promote"))
    rows = TrialTest()
    rows.add(differences, times)
    assert parts.score("promote") != pytest.approx(rows.score("promote"))


def test_a_small_gain_in_every_block_is_seen_soon() -> None:
    """A bet of at most all on means of a few hundredths would take a year of blocks."""
    random = np.random.default_rng(3)
    differences = random.choice([-1.0, 0.0, 1.0], 6000, p=[0.05, 0.8, 0.15])
    test = TrialTest(60.0)
    test.add(differences, np.arange(6000) * 600_000)  # 60 blocks of 100 rows
    assert test.score("promote") > 2
    assert test.score("drop") < 0
