"""A monitor for each model of a folder of config files, which is read again when it changes."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import structlog
from prometheus_client import CollectorRegistry

from monitoring.contract.model_folder import ModelFile, ModelFolder
from monitoring.fleet.rounds import Rounds
from monitoring.monitor import Monitor
from monitoring.settings import MonitorSettings

log = structlog.get_logger(__name__)

SCAN_SECONDS = 2.0  # from one look into the folder to the next
ENDLESS = 120.0  # seconds: a cycle that takes longer is taken for one that does not end
STOP_SECONDS = 5.0  # for the cycles under way

Standing = Literal["ok", "waiting", "failing"]


@dataclass(frozen=True, eq=False)
class Member:
    """One of the models: its file, and its monitor with metrics of its own."""

    path: Path
    monitor: Monitor
    registry: CollectorRegistry

    @property
    def name(self) -> str:
        """Return the model's name."""
        return self.monitor.config.model.name


class Fleet:
    """The models of a folder. What is wrong with a file, or with one model, holds up no other."""

    def __init__(self, folder: Path, settings: MonitorSettings) -> None:
        """Raise ConfigError where a setting is one model's."""
        settings.of_model("any")
        self.folder, self.settings = folder, settings
        self.members: Mapping[str, Member] = {}  # replaced and never changed, so that who reads it needs no lock
        self.looked = False  # whether the folder was ever looked at
        self._files = ModelFolder(folder, patient=True)
        self._rounds = Rounds(settings.monitor_interval_seconds, self._look)

    @property
    def faults(self) -> Mapping[Path, str]:
        """Return why a file cannot be used, or the folder not be read."""
        return self._files.faults

    def run(self, stop: threading.Event) -> None:
        """Watch until told to stop; what changes in the folder takes effect within seconds."""
        while not stop.is_set():
            self.scan()
            self._rounds.tend()
            stop.wait(min(SCAN_SECONDS, self.settings.monitor_interval_seconds))
        self._rounds.stop()

    def scan(self) -> None:
        """Begin with models whose files are new, begin anew with those that changed, and end those that are gone.

        A file that can no longer be used is told of; its model is watched on by what the file said before.
        """
        try:
            files = self._files.look()
            self._replace({name: self._member(file) for name, file in sorted(files.items())})
            self.looked = True
        except Exception as error:  # noqa: BLE001 - told of, and tried again
            log.warning("models_not_looked_for", folder=str(self.folder), reason=str(error) or repr(error))

    def standing(self, member: Member) -> Standing:
        """Say whether a model's cycles succeed, wait for what a first start makes, or fail."""
        monitor, state = member.monitor, member.monitor.state
        if state.problem is None and monitor.fresh:
            return "ok"
        begins = state.last_success is None and (state.problem is None or state.waiting)
        return "waiting" if begins and self._rounds.lasts(member.name) < ENDLESS else "failing"

    def trouble(self, member: Member) -> str | None:
        """Say why a model's figures are not those of now; None if they are."""
        state = member.monitor.state
        if (lasts := self._rounds.lasts(member.name)) > ENDLESS:
            return f"a cycle has been under way for {lasts / 60:.0f} minutes"
        if state.problem is None and state.last_success is not None and not member.monitor.fresh:
            return "no cycle has succeeded lately"
        return state.problem

    def stop(self) -> None:
        """End what runs in the background; a cycle that is cut off in the middle could abort the process."""
        self._rounds.stop(STOP_SECONDS)
        for member in self.members.values():
            member.monitor.stop()

    def _member(self, file: ModelFile) -> Member:
        """Return the member that a file is of, which goes on if the config says what it said."""
        path, config = file.path, file.config
        known = self.members.get(config.model.name)
        if known is not None and known.monitor.config == config:
            return known if known.path == path else replace(known, path=path)
        registry = CollectorRegistry()
        return Member(path, Monitor(config, self.settings.of_model(config.model.name), registry), registry)

    def _replace(self, members: Mapping[str, Member]) -> None:
        before, self.members = self.members, members
        for name, old in before.items():
            if name not in members:
                log.info("model_removed", model=name)
                self._rounds.dismiss(name)
            if name not in members or members[name].monitor is not old.monitor:
                old.monitor.stop()
        for name, member in members.items():
            if name not in before or before[name].monitor is not member.monitor:
                log.info("model_changed" if name in before else "model_added", model=name, path=str(member.path))
                self._rounds.admit(name)

    def _look(self, name: str) -> None:
        """Run a model's cycle; whatever it raises is that model's failure."""
        member = self.members.get(name)
        if member is None:
            return
        with structlog.contextvars.bound_contextvars(model=name):
            try:
                member.monitor.cycle()
            except Exception as error:  # noqa: BLE001 - logged with its traceback, counted and shown
                member.monitor.note_failure("cycle", f"{type(error).__name__}: {error}", error)
        now = self.members.get(name)
        if now is None or now.monitor is not member.monitor:  # what it has begun is nobody's
            member.monitor.stop()
