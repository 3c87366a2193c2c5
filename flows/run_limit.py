"""The time limit of runs: one that has not ended by then is ended, so that what waits behind it goes on.

A run whose process was stopped, or hangs, is RUNNING for Prefect as long as it lives: the trigger knows it, and as one
run executes at a time, a rollback waits behind it. Prefect's own time limit is kept by the run's process itself, which
a stopped one cannot do. Here the runner's process sees to it: the run becomes CANCELLING, whereupon Prefect's runner
ends its process, by SIGKILL where SIGTERM does nothing for half a minute. One that it does not end, or cannot, is said
to have crashed after as long again.

The time counts from when the run was first seen at work, by a clock that never jumps.
"""

import threading
import time
from collections.abc import Callable, Sequence

import structlog

from flows.clients.prefect import FlowRun, Prefect

log = structlog.get_logger(__name__)

LOOK_SECONDS = 10.0
_AT_WORK = {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}  # PENDING: a runner has taken it up


class RunLimit:
    """Ends runs of the flows that have been at work for more than so many seconds."""

    def __init__(
        self, prefect: Prefect, flows: Sequence[str], seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._prefect, self._flows, self._seconds, self._clock = prefect, tuple(flows), seconds, clock
        self._seen: dict[str, float] = {}
        self._ending: set[str] = set()

    def start(self) -> None:
        """Look for as long as the process lives."""
        threading.Thread(target=self._look_forever, name="run-limit", daemon=True).start()

    def look(self) -> None:
        """Look once; raise UnavailableError or RejectedError if Prefect does not play along."""
        runs = [run for flow in self._flows for run in self._prefect.newest_runs(flow, state=_AT_WORK)]
        now = self._clock()
        self._seen = {run.id: self._seen.get(run.id, now) for run in runs}
        for run in runs:
            over = now - self._seen[run.id] - self._seconds
            if run.state_type != "CANCELLING" and over >= 0:
                self._end(run)
            elif over >= self._seconds:
                self._crash(run.id)
        for run_id in self._ending - self._seen.keys():
            self._tell(run_id)

    @property
    def _reason(self) -> str:
        return f"it had not ended within {self._seconds:g} s (FLOWS_RUN_SECONDS), and was ended"

    def _end(self, run: FlowRun) -> None:
        taken = self._prefect.set_state(run.id, "CANCELLING", self._reason)
        log.error("run_out_of_time", flow_run_id=run.id, seconds=self._seconds, cancelling=taken)
        self._ending.add(run.id)

    def _tell(self, run_id: str) -> None:
        """Have a run that was ended be one that crashed, not one that a person has cancelled: the alert is of these."""
        if self._prefect.run(run_id).state_type == "CANCELLED":
            self._crash(run_id)
        self._ending.discard(run_id)

    def _crash(self, run_id: str) -> None:
        self._prefect.set_state(run_id, "CRASHED", self._reason, force=True)
        log.error("run_crashed", flow_run_id=run_id, seconds=self._seconds)

    def _look_forever(self) -> None:
        pause = threading.Event()
        while True:
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - the next look may go well
                log.warning("run_limit_not_kept", reason=str(error) or repr(error))
            pause.wait(min(LOOK_SECONDS, self._seconds / 4))
