"""A writer of the log as a process of its own, which is told what to do, and held or killed at any of its steps."""

import json
import os
import signal
from pathlib import Path
from typing import Any, TextIO

from api.log.journal_lines import Row
from api.log.maintenance import Maintenance
from api.log.retention import Retention
from tests.unit.kills import on_step
from tests.unit.log_fixtures import FORM, WIDER, Log

DONE, HELD, GONE = "done", "held", "gone"


class Writer:
    """A forked process with one log, as a worker of the API has it."""

    def __init__(self, folder: Path, *, wider: bool, fsync: bool) -> None:
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        self.form = WIDER if wider else FORM
        self.held = False
        self._pid = os.fork()
        if self._pid == 0:
            try:
                _obey(Log(folder, form=self.form, fsync=fsync), os.fdopen(commands), answers)
            finally:
                os._exit(1)
        os.close(commands)
        os.close(answers)
        self._lines = os.fdopen(self._answers)

    def tell(self, command: str, *, rows: list[Row] | None = None, stop: int = -1, kill: bool = False) -> str:
        """Give a command; return whether it is done, held after its `stop`-th step, or the process is killed there."""
        return self._send({"command": command, "rows": rows, "stop": stop, "kill": kill})

    def resume(self) -> str:
        """Let a held command go on."""
        return self._send({})

    def kill(self) -> None:
        """Kill it wherever it is."""
        os.kill(self._pid, signal.SIGKILL)
        self._bury()

    def _send(self, message: dict[str, Any]) -> str:
        os.write(self._commands, json.dumps(message).encode() + b"\n")
        answer = self._lines.readline().strip() or GONE
        assert answer in (DONE, HELD, GONE), answer
        self.held = answer == HELD
        if answer == GONE:
            self._bury()
        return answer

    def _bury(self) -> None:
        status = os.waitpid(self._pid, 0)[1]
        os.close(self._commands)
        self._lines.close()
        assert os.WIFSIGNALED(status)


def _obey(log: Log, commands: TextIO, answers: int) -> None:
    maintenance = Maintenance(log, Log(log.folder / "labels"), Retention(), 60.0)
    acts = {"seal": log.seal, "recover": log.recover, "maintenance": maintenance.once}
    left, kill = -1, False

    def answer(text: str) -> None:
        os.write(answers, text.encode() + b"\n")

    def pass_step(_name: str) -> None:
        nonlocal left
        if left == 0:
            if kill:
                os.kill(os.getpid(), signal.SIGKILL)
            answer(HELD)
            commands.readline()
        left -= 1

    on_step(pass_step)
    for line in commands:
        told = json.loads(line)
        left, kill = told["stop"], told["kill"]
        try:
            acts[told["command"]]() if told["rows"] is None else log.append(told["rows"])
        except Exception as error:  # noqa: BLE001 - the test shows it
            answer(repr(error))
        left = -1
        answer(DONE)
