"""The machine is reset at many moments of the loop: one command brings the stack back, and nothing is lost or divided.

RESETS says how often (a few by default); each takes about a minute.
"""

import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flows.clients.prefect import DEPLOYMENT
from tests.processes import eventually
from tests.stack.machine import Machine, plugged_in

pytestmark = [pytest.mark.timeout(4 * 3600), pytest.mark.long]  # against hangs alone: each wait has its own deadline

RESETS = int(os.environ.get("RESETS", "6"))
RANDOM, CALIBRATION = "at random", "while the alarms are calibrated"
ROLLBACK = "rollback: "
# In the order of a loop, so that one episode serves several: each step before the alias moves ends in another run.
MOMENTS = (
    "parts merged", "version registered", "champion moved", CALIBRATION, ROLLBACK + "champion moved", RANDOM,
    "journal sealed", "rows collected", "candidate evaluated", "model logged", "reference staged", RANDOM,
    "previous alias moved", "reference kept", CALIBRATION, "merged part's source removed", "model staged", RANDOM,
    ROLLBACK + "reference staged", "model committed", ROLLBACK + "reference kept", "line written", "file synced",
    "reference replaced", RANDOM, ROLLBACK + "reference replaced", "journal removed",
)  # fmt: skip


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with plugged_in(tmp_path) as found:
        yield found


@dataclass
class Loop:
    """Keeps the loop going, so that each moment comes."""

    machine: Machine
    dice: random.Random = field(default_factory=lambda: random.Random(20_261_127))
    strength: int = 0
    drifted: str = ""  # the digest of the reference from which the drift began

    def go_on(self) -> bool:
        """Let a drift begin that no champion has seen, once the last one is over: its reference is another."""
        demo, reference = self.machine.demo, self.machine.reference().digest
        if reference != self.drifted and demo.query("drift_detected") == 0 and demo.calibrated():
            self.strength, self.drifted = self.strength + 1, reference
            self.machine.sent.set_drifts(["gain"], self.strength)
        return True

    def roll_back(self) -> bool:
        """Ask for a rollback, as a person does."""
        demo = self.machine.demo
        found = demo.get("prefect", f"/api/deployments/name/rollback/{DEPLOYMENT}")
        return bool(demo.prefect(f"/deployments/{found['id']}/create_flow_run"))

    def reach(self, moment: str) -> None:
        """Wait for a moment."""
        if moment == RANDOM:
            eventually("the loop to go on", self.go_on)
            time.sleep(self.dice.uniform(0, 25))
        elif moment == CALIBRATION:
            eventually("a calibration", lambda: self.going(self._calibrates), 300)
            time.sleep(self.dice.uniform(0, 3))
        else:
            doom = self.machine.folder / "doom"
            doom.write_text(f"stop: {moment.removeprefix(ROLLBACK)}")
            if moment.startswith(ROLLBACK):
                eventually("Prefect to take a run", self.roll_back)
            eventually(f"the step {moment!r}", lambda: self.going(lambda: not doom.exists()), 300)

    def going(self, reached: Callable[[], bool]) -> bool:
        """Say whether a moment is reached; let the loop go on, as an episode may have ended without it."""
        if reached():
            return True
        self.go_on()
        return reached()

    def _calibrates(self) -> bool:
        return self.machine.metrics().get("drift_calibration_progress", 1.0) < 1


def test_a_machine_that_is_reset_at_many_moments_of_the_loop(machine: Machine) -> None:
    """After each reset the stack's own start brings it back; no row is missing or double, all agree, an alarm holds."""
    loop = Loop(machine)
    machine.boot()
    eventually("the first database", (machine.stack.state / "mlflow.db").exists, 120)
    time.sleep(loop.dice.uniform(0, 15))
    _say("at the first start", machine.reset())
    machine.boot()
    machine.begin()
    machine.check_agreement()
    for count in range(1, RESETS):
        moment = MOMENTS[(count - 1) % len(MOMENTS)]
        loop.reach(moment)
        alarm = machine.alarm()
        killed = machine.reset()
        machine.boot()
        held = machine.check_alarm(alarm)
        version = machine.check_agreement()
        rows, labels = machine.check_rows(), machine.check_labels()
        machine.wait_ready()
        _say(moment, killed, f"{held}; version {version}, {rows} rows, {labels} labels")
    former = machine.champion()
    eventually("a promotion", lambda: loop.going(lambda: machine.demo.champion() != former), 300)
    eventually("new rows without drift", machine.demo.recovered, 120)
    machine.check_agreement()
    machine.sent.stop()
    _say("in all", machine.check_rows(), f"{RESETS} resets, {len(machine.acknowledged)} rows acknowledged")
    assert machine.sent.counts().refused == 0


def _say(moment: str, count: int, outcome: str = "") -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {moment}: {count} {outcome}\n")
    sys.stdout.flush()
