"""What goes wrong with files, labels and models is told by the running stack, within the time that runbooks state."""

import os
import signal
from datetime import timedelta

import mlflow
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import requests

from api.log.quarantine import PATIENCE
from data.simulate import Traffic
from monitoring.contract.layout import Layout
from monitoring.contract.names import MODEL_SHA256
from monitoring.contract.parts import list_parts, part_name
from monitoring.contract.plain_files import BAD
from tests.processes import eventually
from tests.stack.faulty import Faulty

pytestmark = [
    pytest.mark.timeout(3600),  # against hangs alone: each wait has its own deadline
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore"),  # MLflow's client, not ours
]


def test_a_file_that_nobody_can_read(faulty: Faulty) -> None:
    """The monitor tells while it lies there; the API quarantines it, and tells that."""
    log = Layout(faulty.stack.data).current
    (log / "notes.parquet").write_text("no Parquet")
    faulty.wait_firing("PartsUnreadable", job="monitor")
    eventually("the file to be quarantined", (log / f"{BAD}notes.parquet").exists, PATIENCE + 30)
    faulty.wait_firing("PredictionLogFailing", stage="bad_part")
    eventually("the end of PartsUnreadable", lambda: not faulty.firing("PartsUnreadable"), 30)


def test_rows_from_the_future(faulty: Faulty) -> None:
    """They are left out, and told until a person has taken them away."""
    log = Layout(faulty.stack.data).current
    table = pq.read_table(list_parts(log)[0][0].path)
    later = pc.add(table["timestamp"], pa.scalar(timedelta(days=36_500), pa.duration("us")))
    table = table.set_column(table.schema.get_field_index("timestamp"), "timestamp", later)
    bounds = pc.min_max(later.cast(pa.int64())).as_py()
    future = log / part_name(bounds["min"], bounds["max"], len(table), "0badc0de", 1)
    pq.write_table(table, future)
    faulty.wait_firing("PartsUnreadable", job="monitor")
    assert faulty.demo.query("drift_detected") == 0
    future.unlink()
    eventually("the end of PartsUnreadable", lambda: not faulty.firing("PartsUnreadable"), 30)


def test_a_torn_reference(faulty: Faulty) -> None:
    """Cycles fail, and go on when it is whole again."""
    reference = Layout(faulty.stack.data).reference
    kept = reference.with_name("_kept")
    os.link(reference, kept)
    (torn := reference.with_name("_torn")).write_bytes(kept.read_bytes()[:1000])
    torn.replace(reference)
    faulty.wait_firing("MonitorFailing", stage="reference")
    kept.replace(reference)
    fresh = "time() - monitor_last_success_timestamp_seconds < 5"
    eventually("a cycle that succeeds", lambda: faulty.demo.query(fresh) is not None)


def test_a_disk_that_is_full(faulty: Faulty, sent: Traffic) -> None:
    """Less is free than the reserve: no row is taken that could not be kept, and clients come again with each."""
    faulty.kill("api", signal.SIGTERM)
    faulty.start("api", PREDICTION_LOG_RESERVE_MB=str(10**9))
    faulty.wait_firing("PredictionLogFailing", stage="append")

    def told() -> bool:
        for _ in range(50):  # clients wait longer and longer: of them alone too few errors come
            answer = requests.post(f"{faulty.stack.url('api')}/predict", json={"features": {"mfcc_1": 1}}, timeout=10)
            assert (answer.status_code, answer.json()["reason"]) == (503, "log_unavailable")
        return faulty.demo.query("job:api_requests_errors:ratio_rate5m > 0.05") is not None

    eventually("one answer in twenty to be an error", told)
    faulty.wait_firing("APIErrorRatioHigh")
    faulty.kill("api", signal.SIGTERM)
    faulty.start("api")
    acknowledged = sent.counts().acknowledged
    eventually("predictions", lambda: sent.counts().acknowledged > acknowledged)
    assert sent.counts().refused == 0


def test_a_champion_that_cannot_be_loaded(faulty: Faulty, sent: Traffic) -> None:
    """Its file is not what its digest says: the API serves the former champion on, and somebody is told."""
    mlflow.set_tracking_uri(faulty.stack.url("mlflow"))
    client, name, former = mlflow.MlflowClient(), faulty.demo.config.model.name, faulty.champion()
    sound = client.get_model_version(name, former)
    tags = {**sound.tags, MODEL_SHA256: "0" * 64}
    model_id = sound.source.removeprefix("models:/")
    damaged = client.create_model_version(name, sound.source, sound.run_id, tags, model_id=model_id)
    client.set_registered_model_alias(name, "champion", damaged.version)
    faulty.wait_firing("ChampionNotServed")
    assert faulty.served == [former]
    client.set_registered_model_alias(name, "champion", former)
    eventually("the end of ChampionNotServed", lambda: not faulty.firing("ChampionNotServed"), 30)
    assert sent.counts().refused == 0


def test_a_model_that_learned_from_wrong_labels(faulty: Faulty, sent: Traffic) -> None:
    """Labels go wrong, the data drifts, and what learned from both is promoted; right labels roll it back."""
    faulty.spent = True  # the former champion has not seen the drift, so that the loop goes on
    former = faulty.champion()
    sent.set_drifts(["wrong_labels"])
    eventually("accuracy to fall", lambda: faulty.demo.query("accuracy_drop_detected") == 1)
    faulty.wait_firing("AccuracyDropDetected")
    eventually("the window's accuracy to fall", lambda: (a := faulty.demo.query("model_accuracy")) and a < 0.4)
    faulty.wait_firing("ModelAccuracyDropped")
    sent.set_drifts(["wrong_labels", "gain"])
    eventually("the promotion", lambda: faulty.demo.champion() != former, 180)
    bad = faulty.champion()
    eventually("new rows without drift", faulty.demo.recovered, 90)
    eventually("accuracy as promised", lambda: faulty.demo.query("accuracy_drop_detected") == 0)
    sent.set_drifts(["gain"])
    faulty.note_fault()
    eventually("accuracy to fall again", lambda: faulty.demo.query("accuracy_drop_detected") == 1)
    faulty.wait_firing("ModelTurnedBad", action="rollback")
    eventually("the rollback", lambda: faulty.demo.champion() == former, 90)
    faulty.wait_firing("RolledBack")
    eventually("the API to serve it", lambda: faulty.served[-1] == former, 30)
    assert faulty.served == [former, bad, former]
    assert sent.counts().refused == 0
