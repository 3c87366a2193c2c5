"""The models of a folder of config files as they are now; of a file that cannot be used any more, as it was before."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from monitoring.contract.config import Config
from monitoring.contract.config_file import load_configs
from monitoring.contract.errors import ConfigError
from monitoring.contract.storage import Stamp, stamp

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ModelFile:
    """A model's config, and the file that says it, or has said it before."""

    path: Path
    config: Config


class ModelFolder:
    """Reads a folder again when it has changed. What is wrong with one file is no other's matter."""

    def __init__(self, folder: Path, *, patient: bool = False) -> None:
        """Keep the model of a file that is gone for one more look if `patient`: an editor may be renaming it."""
        self.folder = folder
        # Both are replaced and never changed, so that who reads them needs no lock.
        self.models: Mapping[str, ModelFile] = {}  # by name, in the files' order
        self.faults: Mapping[Path, str] = {}  # why a file, or the folder, cannot be used
        self.first = ""  # the first file's model; none where that was faulty from the start
        self._patient = patient
        self._away: frozenset[str] = frozenset()  # models whose files were not there at the last look
        self._seen: dict[Path, Stamp | None] | None = None  # the files, as they were read last; None: never yet
        self._again = False  # whether they are to be read also if none has changed

    def look(self) -> Mapping[str, ModelFile]:
        """Return the models by name, the same mapping until something changes.

        Raise ConfigError if the folder cannot be listed and never could be; later its models go on, and `faults` tells.
        """
        try:
            seen = {path: stamp(path) for path in self.folder.iterdir()}
            if seen != self._seen or self._again:
                self._take(load_configs(self.folder))
                self._seen, self._again = seen, bool(self._away)
        except (OSError, ConfigError) as error:
            self._again = True
            self._tell({self.folder: f"{self.folder}: cannot be read: {error}"})
            if self._seen is None:
                raise ConfigError(self.faults[self.folder]) from error
        return self.models

    def _take(self, found: Mapping[Path, Config | ConfigError]) -> None:
        faults = {path: str(error) for path, error in found.items() if isinstance(error, ConfigError)}
        sound = {one.model.name: ModelFile(path, one) for path, one in found.items() if isinstance(one, Config)}
        taken = {name.casefold() for name in sound}
        before = {name: file for name, file in self.models.items() if name.casefold() not in taken}
        away = frozenset(name for name, file in before.items() if self._patient and file.path not in found)
        self._away = away - self._away
        kept = {name: file for name, file in before.items() if file.path in faults or name in self._away}
        models = dict(sorted((kept | sound).items(), key=lambda named: named[1].path))
        paths = {file.path: name for name, file in models.items()}
        self.first = paths.get(min((*found, *paths), default=self.folder), "")
        self._tell(faults)
        self.models = models

    def _tell(self, faults: Mapping[Path, str]) -> None:
        for path, reason in faults.items():
            if self.faults.get(path) != reason:
                log.error("config_faulty", path=str(path), reason=reason)
        self.faults = faults
