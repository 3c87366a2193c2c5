"""An episode of drift in the stack that tests make fail: how far it has come, and how it must end."""

from collections.abc import Callable
from dataclasses import dataclass

from monitoring.contract.layout import Layout
from monitoring.contract.reference import read_reference
from scripts.demo import Demo
from tests.processes import eventually
from tests.stack.faulty import Faulty


@dataclass(frozen=True)
class Episode:
    """A drift that has begun, and what was so before."""

    faulty: Faulty
    former: str
    refused: int

    @property
    def demo(self) -> Demo:
        return self.faulty.demo

    def detected(self) -> None:
        """Wait until the detector is sure."""
        eventually("the detection", lambda: self.demo.query("drift_detected") == 1, 60)

    def asked_for(self) -> None:
        """Wait until an alert asks for a retraining."""
        eventually("ModelDrift", lambda: self.demo.alert("firing"), 60)

    def at_work(self) -> None:
        """Wait for a retraining in the middle of its work."""
        eventually("a run at work", lambda: (r := self.demo.flow_run()) and r["state_type"] == "RUNNING", 120)

    def closes(self) -> None:
        """Wait for the promotion, the new reference and the end of the alert; there was one promotion."""
        eventually("the promotion", lambda: self.demo.champion() != self.former, 180)
        champion = self.faulty.champion()
        eventually("the API to serve it", lambda: self.faulty.served[-1] == champion, 30)
        eventually("the new reference", lambda: self.reference() == champion, 60)
        eventually("new rows without drift", self.demo.recovered, 90)
        self.faulty.wait_quiet()
        assert self.faulty.champion() == champion
        assert self.faulty.served == [self.former, champion]
        assert self.faulty.sent.counts().refused == self.refused

    def reference(self) -> str | None:
        """Return the version of the model that the reference is of."""
        return read_reference(Layout(self.faulty.stack.data), self.demo.config.model).model_version


Moment = Callable[[Episode], None]


def begin(faulty: Faulty) -> Episode:
    """Let a drift begin that no champion has seen: each is stronger than the one before."""
    faulty.episodes += 1
    episode = Episode(faulty, faulty.champion(), faulty.sent.counts().refused)
    faulty.sent.set_drifts(["gain"], strength=faulty.episodes)
    return episode


def survives(faulty: Faulty, service: str, moment: Moment, told: Callable[[], None]) -> None:
    """Let a service die at a moment of an episode and come back once somebody was told; the episode closes."""
    episode = begin(faulty)
    moment(episode)
    faulty.kill(service)
    told()
    faulty.start(service)
    episode.closes()
