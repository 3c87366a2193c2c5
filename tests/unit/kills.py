"""Kills at named points: the steps of the log are audit events, and a forked process ends itself at one of them."""

import json
import os
import signal
import sys
from collections.abc import Callable

KILLED = -signal.SIGKILL


def on_step(act: Callable[[str], None]) -> None:
    """Call `act` with the name of each step that this process takes from now on."""
    sys.addaudithook(lambda event, about: act(about[0]) if event == "driftloop.step" else None)


def forked(work: Callable[[], None]) -> int:
    """Do the work in a forked process; return its exit code, or the negative signal that ended it."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - nothing of the test's run may go on here
            os.write(2, repr(error).encode())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def steps_of(work: Callable[[], None]) -> list[str]:
    """Do the work in a forked process and return the steps that it took."""
    read, write = os.pipe()

    def observed() -> None:
        on_step(lambda name: os.write(write, json.dumps(name).encode() + b"\n") and None)
        work()

    assert forked(observed) == 0
    os.close(write)
    with os.fdopen(read) as lines:
        return [json.loads(line) for line in lines]


def killed_at(step: int, work: Callable[[], None]) -> None:
    """Do the work in a forked process that is killed right after its n-th step, counted from 0."""
    left = [step]

    def count(_name: str) -> None:
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1

    def doomed() -> None:
        on_step(count)
        work()

    assert forked(doomed) == KILLED
