"""All that the loop depends on dies while rows come, a part after the other; it closes once, and somebody is told."""

import pytest

from flows.trigger.flow_metrics import WAITING
from tests.processes import eventually
from tests.stack.episode import begin
from tests.stack.faulty import Faulty

pytestmark = [pytest.mark.timeout(3600), pytest.mark.long]  # against hangs alone: each wait has its own deadline


def test_a_bad_day(faulty: Faulty) -> None:
    """Within one episode of drift all of the loop dies, a part after the other; it closes, with one promotion."""
    episode = begin(faulty)
    episode.detected()
    faulty.kill("monitor")
    faulty.kill("prefect")
    faulty.wait_firing("TargetDown", job="monitor")
    faulty.wait_firing("UpstreamDown", service="prefect")
    faulty.start("monitor")
    faulty.start("prefect")
    episode.asked_for()
    faulty.kill("trigger")
    faulty.wait_firing("TargetDown", job="trigger")
    (faulty.folder / "doom").write_text("version registered")
    faulty.start("trigger")
    eventually("the runner's death in the middle of a run", lambda: faulty.running["flows"].poll() is not None, 120)
    faulty.running.pop("flows")
    faulty.note_fault()
    faulty.wait_firing("RunnerDown")
    asked_again = faulty.runs(state={"type": {"any_": WAITING}})
    faulty.start("flows")
    if not asked_again:  # else the last run, which is the one that RetrainFailed tells of, is the next
        faulty.wait_firing("RetrainFailed", flow="retrain", state="CRASHED")
    episode.at_work()
    faulty.kill("mlflow")
    faulty.wait_firing("UpstreamDown", service="mlflow")
    faulty.start("mlflow")
    faulty.kill_one_worker()
    episode.closes()
