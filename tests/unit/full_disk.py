"""A process that counts on a disk of one megabyte: full from the start, and full later; run by test_full_disk.py."""

import sys
import time
from pathlib import Path

from api.metrics import APIMetrics, render
from tests.unit.models import GENRES

FEW, MANY = 30, 2_000  # keys; the many are more than a file's first size holds


def fill(folder: Path) -> Path:
    """Fill the disk to the last byte."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    return filler


def counted(metrics: APIMetrics) -> dict[str, float]:
    """Return what a scrape says of each reason."""
    lines = render([metrics.registry]).decode().splitlines()
    found = (line.split('api_rejected_requests_total{reason="') for line in lines)
    return {pair[1].partition('"')[0]: float(pair[1].rpartition(" ")[2]) for pair in found if len(pair) == 2}


def count(metrics: APIMetrics, keys: int, prefix: str) -> None:
    for number in range(keys):
        metrics.rejected.labels(f"{prefix}-{number}").inc()


def main(folder: Path) -> None:
    if full_from_the_start := sys.argv[2] == "full":
        filler = fill(folder)
    metrics = APIMetrics(GENRES.model)
    count(metrics, FEW, "early")
    if not full_from_the_start:
        filler = fill(folder)
    count(metrics, MANY, "late")  # by a hole in a file, this would end the process
    count(metrics, FEW, "early")
    during = counted(metrics)
    assert during.keys() == (set() if full_from_the_start else {f"early-{n}" for n in range(FEW)} | during.keys())
    assert len(during) < MANY
    filler.unlink()
    until = time.monotonic() + 60
    while len(counted(metrics)) < FEW + MANY:
        assert time.monotonic() < until, "what was counted without room is still not written down"
        metrics.rejected.labels("early-0").inc(0)
    assert counted(metrics) == {f"early-{n}": 2.0 for n in range(FEW)} | {f"late-{n}": 1.0 for n in range(MANY)}
    print("counted")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
