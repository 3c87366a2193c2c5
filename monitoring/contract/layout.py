"""Where each file lies under DATA_DIR."""

from dataclasses import dataclass
from pathlib import Path

from monitoring.contract.storage import Named, Place, Remote

# Beside the journals of a log: who appends rows whose ids others made holds the lock, and looks them up in the index,
# which is made anew from the log where it is gone.
LOG_LOCK, ID_INDEX = "_lock", "_ids"


@dataclass(frozen=True)
class Layout:
    """Where each file lies: under a folder of this machine, the parts of the logs in object storage if that is set.

    A log of others may be read in the place of ours (`monitoring.contract.foreign_log`).
    """

    root: Path
    storage: str | None = None
    watched: Named | None = None

    @property
    def current(self) -> Place:
        """Return the folder of the prediction log's parts, or the log of others that is watched in its place."""
        return self._parts / "current.parquet" if self.watched is None else self.watched

    @property
    def labels(self) -> Place:
        """Return the folder of the late labels' parts."""
        return self._parts / "labels.parquet"

    @property
    def shadow(self) -> Place:
        """Return the folder of the parts with what a challenger has answered in the shadow."""
        return self._parts / "shadow.parquet"

    def journals(self, parts: Place) -> Path:
        """Return the folder of this machine where the journals of a log lie, before they become its parts."""
        return self.root / parts.name

    @property
    def _parts(self) -> Place:
        return self.root if self.storage is None else Remote(self.storage)

    @property
    def reference(self) -> Path:
        """Return the reference, one file."""
        return self.root / "reference.parquet"

    @property
    def rhythm_rows(self) -> Path:
        """Return the folder of the references' rhythm rows, a file for each."""
        return self.root / "_rhythm"
