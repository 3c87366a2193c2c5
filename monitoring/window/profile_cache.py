"""Profiles of parts on disk, so that a restart need not read the rows again. Losing them costs time alone."""

from pathlib import Path

import structlog

from monitoring.contract.plain_files import OddEntryError, discard, discard_tree, fitting, make_folder, read_plain
from monitoring.profile.grid import Grid
from monitoring.profile.profile import Profile, ProfileMismatchError
from monitoring.profile.serialised import from_bytes, to_bytes

log = structlog.get_logger(__name__)


class ProfileCache:
    """A folder of profiles by part, all made against one reference; those made against another are removed."""

    def __init__(self, folder: Path, grid: Grid) -> None:
        self._grid = grid
        self._folder = folder / grid.digest[:16]
        for other in folder.glob("*"):
            if other != self._folder:
                discard_tree(other)

    def read(self, part: str) -> Profile | None:
        """Return a part's profile; None if there is none, or none that can be used."""
        path = self._folder / part
        try:
            return from_bytes(self._grid, read_plain(path))
        except FileNotFoundError:
            return None
        except (OSError, OddEntryError, ProfileMismatchError) as error:
            log.warning("profile_unusable", path=str(path), reason=str(error))
            return None

    def write(self, part: str, profile: Profile) -> None:
        """Keep a part's profile; a disk that does not take it is no failure, for the rows are there."""
        path = self._folder / part
        temporary = path.with_name(fitting(part, before="_", after=".tmp"))
        try:
            make_folder(self._folder)
            temporary.write_bytes(to_bytes(profile))
            temporary.replace(path)
        except OSError as error:
            log.warning("profile_not_kept", path=str(path), reason=str(error))

    def keep(self, parts: set[str]) -> None:
        """Remove the profiles of all other parts."""
        for path in self._folder.glob("*"):
            if path.name not in parts:
                discard(path)
