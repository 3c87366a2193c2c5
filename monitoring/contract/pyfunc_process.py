"""The process in which the code of an MLflow pyfunc model runs: `python pyfunc_process.py SOCKET BYTES FOLDER`.

It is a script by itself, so that an interpreter of the user's may run it, which has MLflow and what the model needs.
`monitoring.contract.onnx.pyfunc` starts it and asks it. A message is two lengths (4 bytes each, little-endian), a
header in JSON, and float64 numbers, row by row; nothing that arrives is unpickled on either side.
"""

import json
import os
import resource
import select
import socket
import struct
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

LENGTHS = struct.Struct("<II")


def main() -> None:
    """Load the model, and answer until the other end is closed."""
    wire, memory, folder = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), sys.argv[3]
    sys.path.pop(0)  # this script's folder: its neighbours are no modules of the model's
    _limit(memory)
    threading.Thread(target=_end_with, args=(wire.fileno(),), daemon=True).start()
    os.dup2(2, 1)  # what the model prints is none of the messages
    try:
        served = _Served(folder)
    except BaseException as error:  # noqa: BLE001 - whatever its code raises
        _send(wire, {"error": _told(error)})
        return
    _send(wire, {"classes": served.classes, "columns": served.columns})
    while True:
        header, body = _receive(wire)
        try:
            names, content = served.answer(header, body)
        except BaseException as error:  # noqa: BLE001
            _send(wire, {"error": _told(error)})
            continue
        _send(wire, {"columns": names, "width": content.shape[1]}, content.tobytes())


class _Served:
    """A loaded model and how it is asked."""

    def __init__(self, folder: str) -> None:
        import mlflow.pyfunc  # noqa: PLC0415 - within the limits
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        self._model = mlflow.pyfunc.load_model(folder)
        schema = self._model.metadata.get_input_schema()
        named = schema is not None and not schema.is_tensor_spec() and schema.has_input_names()
        self._types = dict(zip(schema.input_names(), schema.pandas_types(), strict=True)) if named else {}
        self.columns = list(self._types) or None
        raw: Any = None
        with suppress(MlflowException, NotImplementedError, AttributeError):
            raw = self._model.get_raw_model()
        self._classifier = raw if hasattr(raw, "predict_proba") and hasattr(raw, "classes_") else None
        self.classes = None if self._classifier is None else [_text(name) for name in raw.classes_]

    def answer(self, header: dict[str, Any], body: bytes) -> tuple[Any, Any]:
        """Return the names of the answer's columns, None if it has none, and the numbers (n, columns) as float64."""
        import numpy as np  # noqa: PLC0415
        import pandas as pd  # noqa: PLC0415

        frame = self._frame(header, body)
        if header["classes"] and self._classifier is not None:
            given, names = self._classifier.predict_proba(frame), self.classes
        else:
            given = self._model.predict(frame)
            names = [_text(name) for name in given.columns] if isinstance(given, pd.DataFrame) else None
        numbers = np.asarray(given)
        if numbers.dtype.kind not in "fiu":
            hint = "; a classification takes probabilities" if header["classes"] else ""
            raise TypeError(f"it returned a {type(given).__name__} of {numbers.dtype}, and no numbers{hint}")
        if numbers.ndim == 1:
            numbers = numbers.reshape(-1, 1)
        if numbers.ndim != 2 or len(numbers) != header["rows"]:  # noqa: PLR2004
            raise ValueError(f"it returned the shape {list(numbers.shape)} for {header['rows']} row(s)")
        return names, np.ascontiguousarray(numbers, np.float64)

    def _frame(self, header: dict[str, Any], body: bytes) -> Any:
        import numpy as np  # noqa: PLC0415
        import pandas as pd  # noqa: PLC0415

        numbers = np.frombuffer(body, np.float64).reshape(header["rows"], len(header["numbers"]))
        columns: dict[str, Any] = {name: numbers[:, at] for at, name in enumerate(header["numbers"])}
        columns.update({name: np.array(values, object) for name, values in header["texts"].items()})
        order = self.columns or header["features"]
        return pd.DataFrame({name: self._typed(name, columns[name]) for name in order})

    def _typed(self, name: str, values: Any) -> Any:
        """Return numbers in the type of the model's signature, where that holds them."""
        import numpy as np  # noqa: PLC0415

        wanted = self._types.get(name)
        if wanted is None or values.dtype.kind != "f" or not isinstance(wanted, np.dtype) or wanted.kind not in "fiub":
            return values
        with np.errstate(invalid="ignore", over="ignore"):
            typed = values.astype(wanted)
        return typed if wanted.kind == "f" or bool((typed == values).all()) else values


def _text(name: Any) -> str:
    """Return a class as the config writes it."""
    plain = name.item() if hasattr(name, "item") else name
    if isinstance(plain, bool):
        return str(plain).lower()
    return str(int(plain)) if isinstance(plain, float) and plain.is_integer() else str(plain)


def _told(error: BaseException) -> str:
    while (cause := error.__cause__ or error.__context__) is not None:  # MLflow's own error tells less
        error = cause
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    if missing:
        return f"its code needs the package {missing}, which {sys.executable} does not have"
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:300]


def _limit(memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(ValueError, OSError):  # a lower limit is set already, or the system has none
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    with suppress(OSError):  # where memory is short, this process is to end first
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _end_with(descriptor: int) -> None:
    """End this process with the one that has started it, even while the model hangs."""
    ends = select.poll()
    ends.register(descriptor, 0)
    ends.poll()
    os._exit(1)


def _send(wire: socket.socket, header: dict[str, Any], body: bytes = b"") -> None:
    content = json.dumps(header).encode()
    wire.sendall(LENGTHS.pack(len(content), len(body)) + content + body)


def _receive(wire: socket.socket) -> tuple[dict[str, Any], bytes]:
    first, second = LENGTHS.unpack(_exactly(wire, LENGTHS.size))
    return json.loads(_exactly(wire, first)), _exactly(wire, second)


def _exactly(wire: socket.socket, size: int) -> bytes:
    content = bytearray()
    while len(content) < size:
        if not (piece := wire.recv(min(size - len(content), 1 << 20))):
            sys.exit(0)
        content += piece
    return bytes(content)


if __name__ == "__main__":
    main()
