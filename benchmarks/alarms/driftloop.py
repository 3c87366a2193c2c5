"""Our detector as a peer of the harness, and a cache of its calibrations, which take seconds each."""

import hashlib
import os
from pathlib import Path

import numpy as np

from benchmarks.alarms.rows import Floats, Rows
from benchmarks.alarms.watches import Numbers, Peer, Variant
from monitoring.alarms.drift.calibration import Calibration, calibrate
from monitoring.alarms.drift.scores import Observations, ReferenceScores
from monitoring.alarms.drift.windows import BLOCK, WindowStatistics, window_statistics
from monitoring.contract.storage import replaced

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("BENCH_CALIBRATIONS", ROOT / ".local/bench-alarms/calibrations"))
CATEGORIES = 10
CHUNK = 20_000  # rows scored at once
# The code that a calibration depends on, which is part of its key in the cache.
CODE = [
    ROOT / "monitoring/alarms/drift" / f"{name}.py"
    for name in ("bootstrap", "calibration", "scores", "statistics", "windows")
]


def observations_of(rows: Rows) -> Observations:
    """Return rows as the detector takes them."""
    return Observations(rows.features.astype(np.float64), rows.predictions.astype(np.int64))


def calibration_of(reference: Rows) -> Calibration:
    """Calibrate for a reference, or read its calibration from the cache."""
    digest = hashlib.sha256(reference.features.tobytes() + reference.predictions.tobytes())
    for path in CODE:
        digest.update(path.read_bytes())
    path = CACHE / f"{digest.hexdigest()[:32]}.json"
    if path.exists():
        return Calibration.from_json(path.read_bytes())
    found = calibrate(observations_of(reference), CATEGORIES, seed=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as temporary:
        temporary.write_text(found.to_json(), encoding="utf-8")
    return found


class Detector:
    """Our detector over a stretch of rows, as a `Watch`: rows are scored chunk by chunk, once for all settings."""

    def __init__(self, reference: Rows, rows: Rows) -> None:
        self.rows = len(rows)
        self.calibration = calibration_of(reference)
        self._scores = ReferenceScores(observations_of(reference), CATEGORIES)
        self._stream = rows
        self._sums = np.zeros((0, self._scores.columns.width))
        self._scored: list[list[tuple[Numbers, Floats]]] = [[] for _ in self.calibration.lengths]

    def _score_up_to(self, blocks: int) -> None:
        """Score further chunks, until so many blocks are scored."""
        while len(self._sums) < blocks:
            begin = len(self._sums) * BLOCK
            more = self._scores.sums(observations_of(self._stream[begin : begin + CHUNK]), BLOCK)
            before = len(self._sums)
            self._sums = np.concatenate([self._sums, more])
            oldest = max(0, before - self.calibration.lengths[-1])
            windows = window_statistics(
                self._scores, self.calibration.lengths, self._sums[oldest:], before - oldest, before
            )
            for kept, window in zip(self._scored, windows, strict=True):
                kept.append((window.ends + oldest, self._rarities(window)))

    def _rarities(self, window: WindowStatistics) -> Floats:
        heights = self.calibration.heights(window).max(1, initial=-np.inf)
        return 3 + (heights - self.calibration.level) / (self.calibration.spread * np.log(10))

    def first(self, since: int, setting: float) -> int | None:
        """Return after which row the first alarm comes, if no window begins before `since`; see Watch."""
        start, last = -(-since // BLOCK), self.rows // BLOCK
        seen = start
        while seen < last:
            seen = min(seen + CHUNK // BLOCK, last)
            self._score_up_to(seen)
            found = [self._reached(place, start, seen, setting) for place in range(len(self._scored))]
            if ends := [end for end in found if end is not None]:
                return min(ends) * BLOCK
        return None

    def _reached(self, place: int, start: int, seen: int, setting: float) -> int | None:
        """Return the first block up to `seen` at which one window that begins at `start` or later is above."""
        for ends, rarities in self._scored[place]:
            above = ends[(rarities > setting) & (ends - self.calibration.lengths[place] >= start) & (ends <= seen)]
            if len(above):
                return int(above[0])
        return None


PEER = Peer(
    "driftloop",
    "Driftloop",
    (Variant("evidence that a calibrated reference gives once in 10^{0:.2f} rows", Detector, start=3.4),),
    streams=50,
)


def measured(reference: Rows, stretches: list[Rows]) -> tuple[list[float], dict[str, int]]:
    """Return the rarity of the largest evidence in each 1,000 rows, and the alarms at promises of 10^4 and 10^5."""
    maxima, alarms = [], dict.fromkeys(("4", "5"), 0)
    for rows in stretches:
        watch = Detector(reference, rows)
        watch._score_up_to(len(rows) // BLOCK)  # noqa: SLF001 - the harness's own detector, all of it at once
        top = np.full(len(rows) // BLOCK + 1, -np.inf)
        for pieces in watch._scored:  # noqa: SLF001
            for ends, rarities in pieces:
                np.maximum.at(top, ends, rarities)
        maxima += top[1:].reshape(-1, 1000 // BLOCK).max(1).tolist()
        for promise in alarms:
            at = 0
            while (alarm := watch.first(at, float(promise))) is not None:
                at, alarms[promise] = alarm, alarms[promise] + 1
    return maxima, alarms
