"""What a retraining and a rollback lay ready beside a reference: the rows that its rhythm is learned from."""

import numpy as np
import pyarrow as pa
import pytest

from flows.registry.publication import complete, kept_reference, stage
from flows.registry.rollback_target import RollbackTarget
from flows.registry.versions import Champion
from flows.retrain import Compared, RetrainRun, stage_accepted_reference
from flows.retrain_gate import RetrainGate
from flows.rollback import RollbackRun, stage_reference
from flows.run_history import RunRecord
from flows.training.candidate import make_candidate
from flows.training.collection import collect
from flows.training.export import export_onnx
from flows.training.pipeline import train
from flows.training.sample import sample_of
from monitoring.alarms.drift.usual import DAY
from monitoring.contract.config import Config
from monitoring.contract.drift_state import DriftState
from monitoring.contract.layout import Layout
from monitoring.contract.onnx.model import load_onnx
from monitoring.contract.reference import Reference, read_reference
from monitoring.contract.rhythm_rows import read_rhythm_rows
from monitoring.contract.times import Micros
from tests.unit.flows_fixtures import draw_wine, write_log
from tests.unit.models import wine

from tests.unit.test_drift_rhythm import MONDAY  # isort: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return wine(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="module")
def champion(config: Config) -> Champion:
    pipeline = train(sample_of(draw_wine(400), config.model))
    return Champion("1", load_onnx(export_onnx(pipeline, config.model).SerializeToString(), config.model))


def put(layout: Layout, config: Config, days: int) -> Reference:
    """Publish a user's reference of some days, 40 rows each."""
    rows = draw_wine(40 * days)
    times = pa.array(MONDAY + DAY // 40 * np.arange(len(rows)), pa.timestamp("us", tz="UTC"))
    table = rows.append_column("guess", rows["truth"]).append_column("timestamp", times)
    stage(layout, config.model, "1", table, origin="user", through=Micros(MONDAY + days * DAY))
    assert complete(layout, "1")
    return read_reference(layout, config.model)


def accept(layout: Layout, config: Config, champion: Champion, reference: Reference, state: DriftState) -> Reference:
    """Accept a change half a day after the reference, with labelled rows of a day around it."""
    onset = Micros(reference.through + DAY // 2)  # type: ignore[operator]
    for at, seed in ((onset - DAY // 4, 1), (onset, 2)):
        write_log(layout, config, draw_wine(200, seed=seed), start=at, writer=f"w{seed}")
    collected = collect(layout, config, reference.through, onset, cycle=DAY / 1e6)
    assert collected.older == 200
    candidate = make_candidate(collected.table, reference.table, champion.onnx, config, 1, older=collected.older)
    gate = RetrainGate(candidate.comparison, candidate.standing, 0.9, 0.05, changed=True)
    run = RetrainRun(config, layout, "", RunRecord(layout, "retrain", None), None, layout.root / "config.yml")
    compared = Compared(collected, reference, state, champion, candidate, None, gate)  # type: ignore[arg-type]
    stage_accepted_reference.fn(run, compared)
    assert complete(layout, "1")
    return read_reference(layout, config.model)


@pytest.mark.parametrize(
    ("days", "rows", "rhythm"),
    [
        pytest.param(4, 200, 4 * 40 + 200, id="it is learned from four days"),
        pytest.param(1, 400, None, id="no rows show one"),
    ],
)
def test_a_new_reference_is_of_the_rows_since_the_change_where_others_show_the_rhythm(
    layout: Layout, config: Config, champion: Champion, *, days: int, rows: int, rhythm: int | None
) -> None:
    """It tells the new level alone then; else the rows before the change complete the cycle."""
    after = accept(layout, config, champion, put(layout, config, days), DriftState())
    assert len(after.table) == rows
    found = read_rhythm_rows(layout, config.model, after.digest)
    assert (found and len(found.table)) == rhythm


def test_rows_until_an_alarm_that_ended_are_no_rhythm_rows(layout: Layout, config: Config, champion: Champion) -> None:
    """The flow knows from the drift state until when."""
    reference = put(layout, config, 4)
    assert reference.through is not None
    after = accept(layout, config, champion, reference, DriftState(since=Micros(reference.through + DAY // 4 + 99_000)))
    found = read_rhythm_rows(layout, config.model, after.digest)
    assert found is not None
    assert len(found.table) == 4 * 40 + 100


def test_a_rollback_brings_the_rhythm_rows_back(layout: Layout, config: Config, champion: Champion) -> None:
    """They lie under the digest of the reference that is restored, which is another one than it was."""
    former = accept(layout, config, champion, put(layout, config, 4), DriftState())
    rows = read_rhythm_rows(layout, config.model, former.digest)
    stage(layout, config.model, "2", former.table, origin="rebased")
    assert complete(layout, "2")
    present = read_reference(layout, config.model)
    assert read_rhythm_rows(layout, config.model, present.digest) is None
    run = RollbackRun(config, layout, "2", present, None, RunRecord(layout, "rollback", None))
    stage_reference.fn(run, RollbackTarget(champion, kept_reference(layout, config.model, former.digest)))
    assert complete(layout, "1")
    restored = read_reference(layout, config.model)
    assert restored.digest != former.digest
    assert rows is not None
    assert read_rhythm_rows(layout, config.model, restored.digest) == rows
