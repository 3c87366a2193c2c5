"""A command of the user's, run apart: in a session of its own, with limits of time, memory and output.

It may hang, fork, fill the memory, or print without an end. Whatever it does, it is over after its time, with all that
it has started: the processes of its group, and those that have left the group and still carry its environment, by which
they are found (on Linux, in /proc). Its output is handed on line by line, as far as LINES go, then its end alone.
"""

import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LINES = 400  # of the output that are handed on as they come
LONGEST_LINE = 1000  # bytes: a longer one counts as several
LAST_LINES = 100  # and of what follows these
_LAST_BYTES = 50_000
MOST_PROCESSES = 500
_LOOK_SECONDS = 0.25
_PATIENCE = 5.0  # seconds for what was killed to be gone

Say = Callable[[str], None]


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status (negative: by this signal), why it was ended if it was, its last line."""

    status: int
    because: str | None
    last_line: str

    @property
    def failure(self) -> str | None:
        """Say how it failed, as a predicate; None if it ended well."""
        said = f"; its last line is: {self.last_line}" if self.last_line else ""
        if self.because is not None:
            return f"{self.because}, and was ended{said}"
        if self.status < 0:
            hint = " (often for want of memory)" if self.status == -signal.SIGKILL else ""
            return f"was ended by {signal.Signals(-self.status).name}{hint}{said}"
        return f"ended with status {self.status}{said}" if self.status else None


class _Output:
    """What a process prints, handed on within bounds; it is read to its end, so that the process never waits for it."""

    def __init__(self, stream: IO[bytes], say: Say) -> None:
        self._stream, self._say = stream, say
        self.last_line = ""
        self._reader = threading.Thread(target=self._read, name="trainer-output", daemon=True)
        self._reader.start()

    def close(self) -> None:
        self._reader.join(_PATIENCE)

    def _read(self) -> None:
        for _ in range(LINES):
            if not (line := self._stream.readline(LONGEST_LINE)):
                return
            self._hand_on(line)
        end, passed_over = b"", 0
        while piece := os.read(self._stream.fileno(), 1 << 20):
            passed_over += len(piece)
            end = (end + piece)[-_LAST_BYTES:]
        lines = end.splitlines()[-LAST_LINES:]
        if passed_over > sum(len(line) + 1 for line in lines):
            self._say(f"… {passed_over:,} more bytes were printed, of which these are the last")
        for line in lines:
            self._hand_on(line)

    def _hand_on(self, line: bytes) -> None:
        text = "".join(c if c.isprintable() else " " for c in line[:LONGEST_LINE].decode(errors="replace")).rstrip()
        if text:
            self.last_line = text[:500]
            self._say(text)


def run_bounded(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], *, seconds: float, memory: int, say: Say
) -> Ended:
    """Run a command until it ends, or has taken more seconds, or more bytes of memory, than it may.

    It works in the folder, which the environment names, and nobody else's does. Nothing of it is left afterwards.
    """
    child = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        bufsize=0,
    )
    assert child.stdout is not None
    output = _Output(child.stdout, say)
    try:
        because = _watch(child, str(folder), seconds, memory)
    finally:
        _kill_all(child, str(folder))
        output.close()
        child.stdout.close()
    return Ended(child.returncode, because, output.last_line)


def _watch(child: "subprocess.Popen[bytes]", mark: str, seconds: float, memory: int) -> str | None:
    """Wait for the end; return None, or what the process has done too much of."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(subprocess.TimeoutExpired):
            child.wait(min(_LOOK_SECONDS, max(deadline - time.monotonic(), 0.01)))
            return None
        if time.monotonic() >= deadline:
            return f"had not ended within {seconds:.0f} s"
        taken = list(_memory_of(child.pid, mark.encode()))
        if sum(taken) > memory:
            return f"took more than {memory / 1e6:,.0f} MB of memory, in {len(taken)} processes together"
        if len(taken) > MOST_PROCESSES:
            return f"had more than {MOST_PROCESSES} processes"


def _memory_of(session: int, mark: bytes) -> Iterator[int]:
    """Yield for each process that is of a session, or carries the mark, its bytes of memory that are no file's."""
    page, marked = resource.getpagesize(), set(_marked(mark))
    for entry in _processes():
        with suppress(OSError, ValueError, IndexError):
            after_name = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if int(after_name[3]) == session or int(entry.name) in marked:
                _, resident, shared, *_ = map(int, (entry / "statm").read_text().split())
                yield (resident - shared) * page


def _kill_all(child: "subprocess.Popen[bytes]", mark: str) -> None:
    """End the process, its group, and whatever carries the mark in its environment."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        strays = list(_marked(mark.encode()))
        for stray in strays:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(stray, signal.SIGKILL)
        if not strays or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    child.wait()


def _marked(mark: bytes) -> Iterator[int]:
    for entry in _processes():
        with suppress(OSError):
            if mark in (entry / "environ").read_bytes() and int(entry.name) != os.getpid():
                yield int(entry.name)


def _processes() -> Iterator[Path]:
    """Yield the processes' folders in /proc; none where there is no /proc."""
    with suppress(OSError):
        yield from (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())
