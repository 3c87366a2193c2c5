"""`python -m flows.trainer_process`: the process in which a trainer of the user's runs, within its limits.

It starts a command in its own place, calls a function, or reads the estimator that a command has left. What a function
returns, or a command has left as `model.joblib`, becomes `model.onnx` here too, so that nobody but this process runs
the user's code. `flows.training.own_trainer` starts it, and says by the environment where things lie.
"""

import ctypes
import importlib
import os
import resource
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.training.trainer_files import CONFIG, JOBLIB_FILE, ONNX_FILE, OUTPUT, ROWS

if TYPE_CHECKING:
    import pyarrow as pa

_PR_SET_PDEATHSIG = 1
_COMPARED = 10_000  # rows that an estimator and its ONNX file are both asked for


def limit(memory: int) -> None:
    """Take no more than so many bytes of memory, end first where the machine is short of it, and with the run."""
    with suppress(OSError, AttributeError):  # a run that is killed can end nobody itself; Linux does
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(ValueError, OSError):  # a lower limit is set already, or the system has none
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def main() -> None:
    """Do as the arguments say: `BYTES command WORDS…`, `BYTES function MODULE:NAME`, or `BYTES convert`."""
    memory, what, *words = sys.argv[1:]
    limit(int(memory))
    if what == "command":
        try:
            os.execvp(words[0], words)  # noqa: S606 - the words are the user's own
        except OSError as error:
            sys.exit(f"{words[0]}: cannot be started: {error.strerror}")
    leave(call(words[0]) if what == "function" else load())


def find(name: str) -> Any:
    """Return a function by `package.module:function`; end the process with what is wrong if it is not there."""
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # what it imports is missing: the traceback says who asked for it
        searched = ", ".join(sys.path[1:4])
        sys.exit(f"there is no module {error.name}: put its folder into PYTHONPATH (searched first: {searched})")
    if not callable(found):
        sys.exit(f"the module {module} ({getattr(sys.modules[module], '__file__', None)}) has no function {function}")
    return found


def call(name: str) -> Any:
    """Return what the user's function makes of the rows and the config."""
    from monitoring.contract.config_file import load_config  # noqa: PLC0415 - a command needs none of this

    config, rows = load_config(Path(os.environ[CONFIG])), read_rows().to_pandas()
    train = find(name)
    try:
        return train(rows, config)
    except Exception as error:  # noqa: BLE001 - whatever it raises ends the run, with a last line that says it
        traceback.print_exc()
        sys.exit(f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}")


def read_rows() -> "pa.Table":
    """Return the rows that are trained on, read without Arrow's threads: they abort a process that ends soon."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    return pq.ParquetFile(os.environ[ROWS]).read(use_threads=False)


def load() -> Any:
    """Return the estimator that a command has left; end the process if the file holds none."""
    import joblib  # noqa: PLC0415

    try:
        return joblib.load(Path(os.environ[OUTPUT]) / JOBLIB_FILE)
    except Exception as error:  # noqa: BLE001 - reading it runs whatever code it names
        sys.exit(f"{JOBLIB_FILE} cannot be read: {type(error).__name__}: {error}")


def leave(trained: Any) -> None:
    """Write what was trained as ONNX; end the process with what is wrong if it is no model."""
    import onnx  # noqa: PLC0415

    content = trained.SerializeToString() if isinstance(trained, onnx.ModelProto) else trained
    if not isinstance(content, bytes):
        content = converted(content)
    (Path(os.environ[OUTPUT]) / ONNX_FILE).write_bytes(content)


def converted(trained: Any) -> bytes:
    """Return a fitted estimator as an ONNX file that answers alike; end the process with what is wrong if it cannot."""
    from flows.conversion.conversion import convert_brought  # noqa: PLC0415
    from flows.conversion.errors import BroughtModelError  # noqa: PLC0415
    from flows.conversion.reading import Brought  # noqa: PLC0415
    from flows.training.sample import sample_of  # noqa: PLC0415
    from monitoring.contract.config_file import load_config  # noqa: PLC0415

    model = load_config(Path(os.environ[CONFIG])).model
    rows = sample_of(read_rows().slice(0, _COMPARED), model)
    spread = float(rows.labels.std()) if rows.task == "regression" else 0.0
    try:
        found = convert_brought(
            Brought("what it returned", trained), model, rows.features, spread, source="the training"
        )
    except BroughtModelError as error:
        told = "; ".join(str(error).splitlines())
        sys.exit(
            f"{told}. A trainer returns a fitted scikit-learn estimator of the config's features, or an ONNX model"
        )
    sys.stdout.write("".join(f"{line}\n" for line in (found.describe(), *found.notes)))
    assert not isinstance(found.exported, bytes)  # what was fitted here has become ONNX
    return bytes(found.exported.SerializeToString())


if __name__ == "__main__":
    main()
