"""Run the Procfile in the foreground: `python -m scripts.local`, in the environment that scripts.stack makes.

honcho starts the processes, shows what they say and stops them together. What it has no switch for is added here: a
process that dies is run again, as the restart policy does in containers. Only one that gives up within a minute of its
first start ends the stack: that is a wrong setting, whose reason shall be the last thing on the screen.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

from honcho.environ import parse_procfile
from honcho.manager import Manager
from honcho.printer import Printer
from honcho.process import Popen, Process

PROCFILE = Path(__file__).resolve().parent.parent / "Procfile"
SETTLED = 60.0  # seconds
LONGEST_PAUSE = 30.0  # seconds


class Group(Popen):  # type: ignore[misc]  # honcho has no types
    """A process whose children end with it: else they would hold its port, and the pipe that honcho reads."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        Thread(target=self._end_together, daemon=True).start()

    def _end_together(self) -> None:
        self.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


class Kept(Process):  # type: ignore[misc]
    """A process that is run again until the whole stack is stopped."""

    def __init__(self, *arguments: Any, stopping: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._child_ctor = Group
        self._stopping = stopping
        self._code = 0

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:  # noqa: FBT001, FBT002 - honcho's
        """Run the command, and again while it dies; longer and longer pauses lie between starts that fail."""
        if ignore_signals:  # by handlers, for a child would inherit that they are ignored
            signal.signal(signal.SIGINT, _pass)
            signal.signal(signal.SIGTERM, _pass)
        pause, first = 1.0, True
        while True:
            begun = time.monotonic()
            super().run(events)
            settled = time.monotonic() - begun >= SETTLED
            if self._stopping.is_set() or (first and self._code >= 0 and not settled):
                break
            pause, first = 1.0 if settled else pause, False
            self._send_message(f"ended with {self._code}; it is started again in {pause:.0f} s\n")
            if self._stopping.wait(pause):
                break
            pause = min(2 * pause, LONGEST_PAUSE)
        super()._send_message({"returncode": self._code}, type="stop")

    def _send_message(self, data: Any, type: str = "line") -> None:  # noqa: A002 - honcho's
        """Tell honcho all but the end of a process that may be run again."""
        if type == "stop":
            self._code = data["returncode"]
        else:
            super()._send_message(data, type)


def _pass(*_: Any) -> None:
    """Take a signal that is meant for the children; honcho passes it on."""


class Local(Manager):  # type: ignore[misc]
    """honcho's manager, whose processes know when they are to stop for good."""

    def __init__(self) -> None:
        super().__init__(Printer(sys.stdout, colour=False))
        self._stopping = multiprocessing.Event()
        self._process_ctor = self._kept

    def _kept(self, *arguments: Any, **options: Any) -> Kept:
        return Kept(*arguments, stopping=self._stopping, **options)

    def terminate(self) -> None:
        """Stop all processes, and start none again."""
        self._stopping.set()
        super().terminate()


def main(procfile: Path = PROCFILE) -> None:
    """Run until one process gives up at its start, or until SIGTERM or Ctrl-C."""
    local = Local()
    for name, command in parse_procfile(procfile.read_text(encoding="utf-8")).processes.items():
        if name != "grafana" or os.environ.get("GRAFANA_HOME"):  # only where scripts.stack has found one
            local.add_process(name, command, cwd=procfile.parent)
    local.loop()
    sys.exit(local.returncode)


if __name__ == "__main__":
    main()
