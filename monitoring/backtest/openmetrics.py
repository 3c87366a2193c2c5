"""Metrics of many moments as one OpenMetrics text, which promtool turns into blocks of a Prometheus.

The text wants each family's samples together, and a replay gives all families moment by moment: each family is
written to a file of its own, and these are put one behind the other in the end. Memory does not grow with the moments.
"""

import contextlib
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from prometheus_client.core import Metric
from prometheus_client.utils import floatToGoString

from monitoring.contract.errors import DriftloopError

_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def _number(value: float) -> str:
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


class Spool:
    """Families of samples in a folder, each with the same further labels, as a scrape gives them."""

    def __init__(self, folder: Path, labels: Mapping[str, str]) -> None:
        self._folder, self._labels = folder, dict(labels)
        self._files: dict[str, IO[str]] = {}
        self.samples = 0

    @property
    def names(self) -> frozenset[str]:
        """Return the names of the metrics that had a value at some moment."""
        return frozenset(self._files)

    def add(self, moment: float, families: Iterable[Metric]) -> None:
        """Add the samples of a moment (seconds since 1970); moments ascend."""
        for family in families:
            if not family.samples:
                continue
            file = self._files.get(family.name) or self._begin(family)
            for sample in family.samples:
                labels = ",".join(
                    f'{k}="{v.translate(_ESCAPED)}"' for k, v in {**sample.labels, **self._labels}.items()
                )
                file.write(f"{sample.name}{{{labels}}} {_number(sample.value)} {moment:.3f}\n")
            self.samples += len(family.samples)

    def write(self, path: Path, names: Iterable[str] | None = None) -> None:
        """Write the families, all or some, as one text; raise DriftloopError if that cannot be."""
        try:
            with path.open("wb") as out:
                for name in sorted(self._files if names is None else names):
                    self._files[name].flush()
                    with self._path(name).open("rb") as family:
                        shutil.copyfileobj(family, out)
                out.write(b"# EOF\n")
        except OSError as error:
            raise DriftloopError(f"{path}: cannot be written: {error}") from error

    def close(self) -> None:
        """Close the files."""
        with contextlib.ExitStack() as stack:
            for file in self._files.values():
                stack.callback(file.close)

    def _begin(self, family: Metric) -> IO[str]:
        file = self._path(family.name).open("w", encoding="utf-8")
        self._files[family.name] = file
        text = family.documentation.translate(_ESCAPED)
        file.write(f"# HELP {family.name} {text}\n# TYPE {family.name} {family.type}\n")
        return file

    def _path(self, name: str) -> Path:
        return self._folder / f"{re.sub(r'[^a-zA-Z0-9_]', '_', name)}.family"
