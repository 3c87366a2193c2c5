"""Calibration in a process of its own, so that it takes neither time nor memory from the monitor's cycles.

The child, `python -m monitoring.alarms.drift.calibration_process FILE CATEGORIES RHYTHM TIMEZONE`, reads the
reference's rows, and earlier ones if there are some, from its standard input, prints its progress to its standard
output, and writes the calibration to the file, whole or not at all.
"""

import contextlib
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from monitoring.alarms.drift.calibration import calibrate
from monitoring.alarms.drift.levels import Levels
from monitoring.alarms.drift.rhythm import find_rhythm
from monitoring.alarms.drift.scores import Observations
from monitoring.contract.errors import DriftloopError
from monitoring.contract.plain_files import make_folder
from monitoring.contract.storage import replaced

NICENESS = 5  # behind the API and the cycles of the monitor, yet not without a share where all cores are busy
SEED = 20_261_125
LONGEST = 1800.0  # seconds: a calibration that takes longer keeps no other waiting


class CalibrationError(DriftloopError):
    """The process that calibrates has failed."""


class CalibrationJob:
    """A running calibration for a reference, which ends with the file."""

    _running: ClassVar[dict[threading.Thread, float]] = {}  # of this process, and since when

    _starting: ClassVar = threading.Lock()

    @classmethod
    def in_turn(cls, *of: Any, earlier: Observations | None = None) -> Self | None:
        """Start a calibration; return None while another of this process is under way: many models take turns."""
        with cls._starting:
            now = time.monotonic()
            busy = any(thread.is_alive() and now - begun < LONGEST for thread, begun in tuple(cls._running.items()))
            return None if busy else cls(*of, earlier=earlier)

    def __init__(
        self,
        path: Path,
        reference: Observations,
        categories: int,
        rhythm: str,
        timezone: str,
        *,
        earlier: Observations | None = None,
    ) -> None:
        make_folder(path.parent)
        self.progress = 0.0
        content = io.BytesIO()
        rows = {"reference": reference} if earlier is None else {"reference": reference, "earlier": earlier}
        arrays = {f"{of}.{name}": array for of, each in rows.items() for name, array in _arrays(each)}
        np.savez(content, allow_pickle=False, **arrays)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(path), str(categories), rhythm, timezone],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[3],
        )
        self._error = ""
        self._thread = threading.Thread(
            target=self._communicate, args=(content.getvalue(),), name="calibration", daemon=True
        )
        self._running[self._thread] = time.monotonic()
        self._thread.start()

    def _communicate(self, content: bytes) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        with self._process.stdin, self._process.stdout, self._process.stderr:
            with contextlib.suppress(BrokenPipeError):  # the child has ended: its standard error says why
                self._process.stdin.write(content)
                self._process.stdin.close()
            for line in self._process.stdout:
                self.progress = float(line)
            self._error = self._process.stderr.read().decode(errors="replace")
        self._process.wait()  # its pipes close a moment before it has ended
        self._running.pop(threading.current_thread(), None)

    def done(self) -> bool:
        """Return whether the process has ended; raise CalibrationError if it failed."""
        if self._thread.is_alive():
            return False
        if self._process.returncode:
            raise CalibrationError(f"exit status {self._process.returncode}: {self._error[-500:]}")
        return True

    def stop(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._thread.join()


def _arrays(rows: Observations) -> Iterator[tuple[str, npt.NDArray[np.generic]]]:
    """Yield the arrays of rows by name, without times where these are not known."""
    for name in ("features", "predictions", "times"):
        if (array := getattr(rows, name)) is not None:
            yield name, array
    yield "cells", rows.levels.cells
    yield "sizes", np.array(rows.levels.sizes, np.int64)


def _observations(content: Mapping[str, npt.NDArray[Any]], of: str) -> Observations:
    levels = Levels(content[f"{of}.cells"], tuple(content[f"{of}.sizes"].tolist()))
    return Observations(content[f"{of}.features"], content[f"{of}.predictions"], content.get(f"{of}.times"), levels)


def main() -> None:
    """Calibrate in the child process; end early when the parent has ended."""
    path, categories, asked, timezone = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    os.nice(NICENESS)
    parent = os.getppid()
    with np.load(io.BytesIO(sys.stdin.buffer.read())) as content:
        reference = _observations(content, "reference")
        earlier = _observations(content, "earlier") if "earlier.features" in content else None

    def report(progress: float) -> None:
        if os.getppid() != parent:
            sys.exit(1)
        sys.stdout.write(f"{progress:.3f}\n")
        sys.stdout.flush()

    rhythm = find_rhythm(reference, categories, asked, timezone, earlier)
    calibration = calibrate(reference, categories, SEED, report, rhythm=rhythm, earlier=earlier)
    with replaced(path) as temporary:
        temporary.write_text(calibration.to_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
