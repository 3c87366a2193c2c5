"""A model's first load and its first answers, in a process of its own, with limits of time and memory.

An ONNX file may hold a loop that never ends, or ask for all memory of the machine: whoever loads it would be lost with
it. Here the process is lost that tries it, and the model is refused.

The child, `python -m monitoring.contract.onnx.trial_process`, reads a line with the limits and the model's section of
the config, and then the file, from its standard input, and prints what is wrong with it as JSON.
"""

import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from monitoring.contract.config import Model
from monitoring.contract.onnx.model import InterruptedTrialError, UnfitModelError, load_onnx
from monitoring.contract.onnx.pyfunc import is_bundle

CPU_SECONDS = 60  # of computing, beyond its imports, which a busy machine does not shorten
PATIENCE = 10  # times as long by the clock, for a model that waits instead
MEMORY = 2_000_000_000  # bytes that the process may take, and
MEMORY_PER_BYTE = 8  # times the file's size
_NICE = 5  # requests go before a trial


def try_apart(content: bytes, model: Model) -> None:
    """Load an ONNX model and ask it for first answers in another process; raise UnfitModelError if it fails there.

    Raise InterruptedTrialError if that may be no fault of the model's.

    Whoever goes on to load it finds all that `load_onnx` finds; what this adds is that it comes to an end.
    """
    if is_bundle(content):  # a pyfunc is never loaded in another process than its own
        return
    limits = {"seconds": CPU_SECONDS, "memory": MEMORY + MEMORY_PER_BYTE * len(content)}
    about = json.dumps({"limits": limits, "model": model.model_dump(mode="json")})
    try:
        child = subprocess.run(
            [sys.executable, "-m", __name__],
            input=about.encode() + b"\n" + content,
            capture_output=True,
            timeout=PATIENCE * CPU_SECONDS,
            cwd=Path(__file__).parents[3],
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InterruptedTrialError([f"it has not answered within {PATIENCE * CPU_SECONDS} s"], []) from None
    if child.returncode == -signal.SIGXCPU:
        raise UnfitModelError([f"it has not answered after {CPU_SECONDS} s of computing"], [])
    try:
        found = json.loads(child.stdout)
        faults, misfits = found["faults"], found["misfits"]
    except (ValueError, KeyError, TypeError):
        said = child.stderr.decode(errors="replace").strip()[-200:] or "it says nothing"
        kind = InterruptedTrialError if child.returncode < 0 else UnfitModelError
        raise kind([f"trying it has ended a process ({child.returncode}): {said}"], []) from None
    if faults or misfits:
        raise UnfitModelError(faults, misfits)


def _limit(seconds: int, memory: int) -> None:
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    computing, hard = math.ceil(time.process_time()) + seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard != resource.RLIM_INFINITY:
        computing = min(computing, hard - 1)  # SIGXCPU first, which tells what it was, and not SIGKILL
    resource.setrlimit(resource.RLIMIT_CPU, (computing, computing + 1))
    with suppress(ValueError, OSError):  # a lower limit is set already, or the system has none
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    with suppress(OSError):  # where memory is short all the same, this process is to end first
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def main() -> None:
    """Try the model in the child process."""
    about = json.loads(sys.stdin.buffer.readline())
    content = sys.stdin.buffer.read()
    _limit(**about["limits"])
    found: dict[str, list[str]] = {"faults": [], "misfits": []}
    try:
        load_onnx(content, Model.model_validate(about["model"]))
    except UnfitModelError as error:
        found = {"faults": error.faults, "misfits": error.misfits}
    except MemoryError:
        found["faults"].append("it takes too much memory")
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
