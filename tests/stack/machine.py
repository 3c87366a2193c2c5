"""A machine that is reset: the stack as its own start runs it, all of it killed at one moment, and what must hold then.

`python -m tests.stack.machine DATA STATE` starts it as scripts.stack does, with the pace of the tests.
"""

import contextlib
import os
import random
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import requests

from api.model import copy_path, read_copy
from data.simulate import Traffic
from monitoring.contract.drift_state import drift_key
from monitoring.contract.errors import DriftloopError
from monitoring.contract.history import read_history
from monitoring.contract.layout import Layout
from monitoring.contract.parts import list_parts
from monitoring.contract.reference import Reference, read_reference
from monitoring.contract.rereading import attempts
from monitoring.contract.storage import Place
from scripts.stack import PORTS, Stack, become, ports_from_environment, ready
from tests.processes import eventually
from tests.stack.faulty import DOOM, ENVIRONMENT, Faulty, traffic
from tests.stack.promises import PACE
from tests.stack.watchdog_receiver import Outside

STACK = "stack"  # the one service that a test starts


@dataclass(frozen=True)
class Alarm:
    """What the monitor said of a reference: whether the data has drifted, and since when (seconds since 1970)."""

    key: str
    detected: bool
    onset: float | None


class Machine(Faulty):
    """A stack that is killed as a whole, and started by its own command."""

    acknowledged: list[str]
    disagreement: dict[str, str | None]

    def boot(self) -> None:
        """Start the stack, by one command."""
        self.start(STACK)

    def reset(self) -> int:
        """Kill all processes of the stack at once; return how many these were."""
        self.note_fault()
        killed = 0
        while found := _marked(self.environment["DOOM_FILE"]):
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            killed = killed or len(found)
            time.sleep(0.01)
        self.running.pop(STACK).wait()
        (self.folder / "doom").unlink(missing_ok=True)
        return killed

    @property
    def layout(self) -> Layout:
        return Layout(self.stack.data)

    def reference(self) -> Reference:
        """Return the reference in place."""
        return read_reference(self.layout, self.demo.config.model)

    def metrics(self) -> dict[str, float]:
        """Return what the monitor exports without labels."""
        lines = requests.get(f"{self.stack.url('monitor')}/metrics", timeout=5).text.splitlines()
        pairs = [line.split(" ") for line in lines if line and not line.startswith("#") and "{" not in line]
        return {name: float(value) for name, value in pairs}

    def alarm(self) -> Alarm | None:
        """Return what the monitor says of the drift; None while it says nothing, or speaks of another reference."""
        try:
            before, said, after = self.reference(), self.metrics(), self.reference()
        except (requests.RequestException, DriftloopError):
            return None
        if before.digest != after.digest or "drift_detected" not in said:
            return None
        onset = said.get("drift_onset_timestamp_seconds")
        if onset is not None and onset * 1e6 <= (before.through or 0):
            return None
        return Alarm(drift_key(before, self.demo.config.model), said["drift_detected"] == 1, onset)

    def check_alarm(self, before: Alarm | None) -> str:
        """Hold the monitor's first word to the one before the reset, if that was an alarm of the same reference."""
        if before is None or not before.detected:
            return "no alarm held"
        found: Alarm = eventually("the monitor's first word on the drift", self.alarm, 120)
        if found.key != before.key:
            return "the reference was re-based"
        assert found == before
        return "the alarm holds"

    def check_labels(self) -> int:
        """Wait until as many rows have a label in the log as labels were acknowledged; return how many these are."""
        due = self.sent.counts().labels
        return len(eventually(f"{due} labels in the log", lambda: len(h := _ids(self.layout.labels)) >= due and h, 60))

    def check_rows(self) -> int:
        """Wait until each row acknowledged until now is in the log, none twice; return how many rows it has."""
        due = set(self.acknowledged)
        held = eventually(
            f"{len(due)} rows in the log", lambda: (h := _ids(self.layout.current)) and due <= h.keys() and h, 60
        )
        assert not [one for one, count in held.items() if count > 1]
        return len(held)

    def check_agreement(self) -> str:
        """Wait until alias, reference, model copy, answers and history say the same; return the version."""
        self.disagreement = {}
        try:
            seen: dict[str, str | None] = eventually("agreement", self._agreed, 90)
        except AssertionError as error:
            raise AssertionError(f"{error}; each says: {self.disagreement}") from None
        return str(seen["alias"])

    def _agreed(self) -> dict[str, str | None] | None:
        try:
            self.disagreement = seen = self.said()
        except DriftloopError as error:
            self.disagreement = {"error": str(error)}
            return None
        named = {seen[name] for name in ("alias", "reference", "copy", "answers", "history")}
        return seen if len(named) == 1 and seen["digest"] == seen["history's digest"] and not seen["staged"] else None

    def said(self) -> dict[str, str | None]:
        """Return whom each takes for the champion, and of which reference the history speaks."""
        model, reference = self.demo.config.model, self.reference()
        copy = read_copy(copy_path(self.stack.data / "_model", model.name))
        newest = next((one for one in read_history(self.layout) if one.version is not None), None)
        return {
            "alias": self.demo.champion(),
            "reference": reference.model_version,
            "copy": copy.release.version if copy else None,
            "answers": str(self.demo.get("api", "/model")["version"]),
            "history": newest.version if newest else None,
            "digest": reference.digest,
            "history's digest": newest.reference_digest if newest else None,
            "staged": ", ".join(sorted(p.name for p in (self.stack.data / "_references").glob("_next-*"))),
        }


def _marked(doom: str) -> list[int]:
    """Return the living processes that were started with this file of doom."""
    mark, found = f"DOOM_FILE={doom}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def _ids(log: Place) -> Counter[str]:
    """Count the ids in the parts of a log, as a reader sees them."""
    found: Counter[str] = Counter()
    for attempt in attempts(log):
        with attempt:
            parts, unreadable = list_parts(log)
            assert not unreadable, unreadable
            found = Counter()
            for part in parts:
                found.update(pq.read_table(str(part.path), columns=["prediction_id"])["prediction_id"].to_pylist())
            break
    return found


def _ports() -> dict[str, int]:
    """Return free ports that no client's connection takes while the stack is down."""
    first_of_clients = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: list[int] = []
    for port in random.SystemRandom().sample(range(first_of_clients - 10_000, first_of_clients), 1000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == len(PORTS):
            break
    return dict(zip(PORTS, found, strict=True))


@contextlib.contextmanager
def plugged_in(folder: Path) -> Iterator[Machine]:
    """Give a machine whose stack does not run yet; nothing of it runs after the block."""
    stack = Stack(folder / "data", folder / "state", _ports(), pace=PACE)
    doomed = {"PYTHONPATH": str(DOOM), "DOOM_FILE": str(folder / "doom")}
    ports = {f"{name.upper()}_PORT": str(port) for name, port in stack.ports.items()}
    command = f"exec {sys.executable} -m tests.stack.machine {stack.data} {stack.state}"
    acknowledged: list[str] = []
    machine = Machine(
        stack, folder, Outside(), {**os.environ, **ENVIRONMENT, **doomed, **ports}, {STACK: command},
        Traffic(traffic(stack), acknowledged.extend),
    )  # fmt: skip
    machine.acknowledged = acknowledged
    try:
        yield machine
    finally:
        machine.sent.stop()
        machine.watched_enough.set()
        if machine.running:
            machine.reset()


if __name__ == "__main__":
    local = Stack(Path(sys.argv[1]), Path(sys.argv[2]), ports_from_environment(), pace=PACE)
    become(local, ready(local))
