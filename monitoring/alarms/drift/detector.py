"""The sequential detector: it takes rows in, block after block, and raises an alarm when they drift from the reference.

For alarms it scores windows of many lengths, each standardised by the calibration: a generalised likelihood-ratio
detector limited to windows (Lai 1995), with the statistics of `statistics.KINDS` in place of the ratio.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from monitoring.alarms.drift.calibration import Calibration
from monitoring.alarms.drift.levels import Levels
from monitoring.alarms.drift.scores import Observations, ReferenceScores
from monitoring.alarms.drift.usual import Floats, Times
from monitoring.alarms.drift.windows import BLOCK, joints_of, statistics_of, window_statistics
from monitoring.contract.drift_state import Alarm
from monitoring.contract.times import BEFORE_ALL, Micros

CHUNK = 1000 * BLOCK  # rows scored at once
RELEASE = 0.5  # powers of ten below the threshold: an alarm ends once the score has stayed lower
QUIET = 40  # blocks for which it has to stay lower


@dataclass(frozen=True)
class DetectorStatus:
    """The detector's state: `score` and `threshold` are log10 of the rows between false alarms at that level."""

    rows: int
    score: float
    threshold: float
    alarm: Alarm | None


class DriftDetector:
    """Scores each block of rows once, in windows of many lengths that end with it.

    Memory and the cost of a block are constant. An alarm begins when the score reaches the threshold, and ends when
    the score has stayed well below it; the detector then starts anew, so that each row belongs to one alarm at most.
    With an `alarm` it goes on from there, as after a restart.
    """

    def __init__(self, reference: ReferenceScores, calibration: Calibration, alarm: Alarm | None = None) -> None:
        self._reference, self.calibration = reference, calibration
        self._longest = calibration.lengths[-1]
        self._seen = 0  # blocks
        self._alarm = alarm
        self.since = BEFORE_ALL  # the time of the last row before the detector started anew, if it did
        self._threshold = math.inf
        self._pending = self._recent = _no_rows(reference)  # the recent ones are those of the longest window
        self._start_anew()

    def _start_anew(self) -> None:
        """Forget all blocks, so that no window reaches back behind this point."""
        self._quiet = 0  # blocks
        self._sums = np.zeros((0, self._reference.columns.width))
        self._heights = np.full(len(self.calibration.lengths), -np.inf)  # of each window when it was last scored
        self._kinds = np.zeros(len(self._heights), np.int64)

    def update(self, rows: Observations, times: Times, promise: float) -> None:
        """Take in new rows, oldest first, with their times (n,); `promise` is the mean rows between false alarms."""
        self._threshold = math.log10(promise)
        rows = _join(self._pending, replace(rows, times=times))
        whole = len(rows) // BLOCK * BLOCK
        self._pending = rows.take(slice(whole, None))
        for begin in range(0, whole, CHUNK):  # where an alarm ends, what follows it is scored once more
            self._take(rows.take(slice(begin, min(begin + CHUNK, whole))))

    def _take(self, rows: Observations) -> None:
        self._recent = _join(self._recent, rows)
        self._advance(self._reference.sums(rows, BLOCK), _times(rows))
        # only now: an alarm may begin in the first of more rows than the longest window holds
        self._recent = self._recent.take(slice(-self._longest * BLOCK, None))

    def _advance(self, sums: Floats, times: Times) -> None:
        """Score new blocks (blocks, K); where an alarm ends among them, start anew behind that block."""
        if not len(sums):
            return
        before = len(self._sums)
        known = np.concatenate([self._sums, sums])
        heights, kinds = self._score(known, before)
        top = heights.max(1)
        end = self._follow(top, heights, kinds, known, times)
        if end is not None:
            self._seen += end + 1
            self.since = Micros(int(times[(end + 1) * BLOCK - 1]))
            self._start_anew()
            self._advance(sums[end + 1 :], times[(end + 1) * BLOCK :])
            return
        self._seen += len(sums)
        self._sums, self._heights, self._kinds = known[-self._longest :], heights[-1], kinds[-1]

    def _score(self, known: Floats, before: int) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Return each window's latest height at each new block, and its kind, (blocks, windows) both."""
        number = len(known) - before
        heights = np.full((number, len(self._heights)), -np.inf)
        kinds = np.zeros(heights.shape, np.int64)
        joints = joints_of(_times(self._recent)[-len(known) * BLOCK :])
        for place, window in enumerate(
            window_statistics(
                self._reference,
                self.calibration.lengths,
                known,
                before,
                self._seen,
                deviations=self.calibration.deviations,
                joints=joints,
            )
        ):
            found = self.calibration.heights(window)
            at = window.ends - before - 1
            heights[at, place], kinds[at, place] = found.max(1), found.argmax(1)
            last = np.zeros(number, np.int64)
            last[at] = at + 1
            last = np.maximum.accumulate(last)
            heights[:, place] = np.where(last > 0, heights[last - 1, place], self._heights[place])
            kinds[:, place] = np.where(last > 0, kinds[last - 1, place], self._kinds[place])
        return heights, kinds

    def _follow(
        self, top: Floats, heights: Floats, kinds: npt.NDArray[np.int64], known: Floats, times: Times
    ) -> int | None:
        """Raise an alarm where the height reaches the threshold; return the block at which one ends, None if none does.

        `top` (blocks,) is the largest of `heights` at each new block; `known` are the sums (kept + new blocks, K).
        """
        begin = 0
        if self._alarm is None:
            reached = np.flatnonzero(top >= self.calibration.height(10**self._threshold))
            if not len(reached):
                return None
            begin = int(reached[0])
            window = int(heights[begin].argmax())
            self._alarm = self._raise_alarm(
                known, len(known) - len(top) + begin, window, int(kinds[begin, window]), times
            )
        quiet = top[begin:] < self.calibration.height(10 ** (self._threshold - RELEASE))
        places = np.arange(len(quiet))
        last_high = np.maximum.accumulate(np.where(quiet, -1 - self._quiet, places))
        lengths = places - last_high  # of the run of quiet blocks up to each
        self._quiet = int(lengths[-1])
        ended = np.flatnonzero(lengths >= QUIET)
        if not len(ended):
            return None
        self._alarm = None
        return begin + int(ended[0])

    def _raise_alarm(self, known: Floats, block: int, window: int, kind: int, times: Times) -> Alarm:
        """Return the alarm raised at a block; its onset maximises the statistic of the rows from there to the block.

        The deviations are those of the window that raised it: with each length's own, the onset would go by how they
        change with the length.
        """
        length, deviations = self.calibration.lengths[window], self.calibration.deviations
        if deviations is not None:
            deviations = deviations.held_at(length * BLOCK)
        total = np.cumsum(known[block::-1], axis=0)[: 2 * length]
        blocks = np.arange(1, len(total) + 1)
        before = np.full(total.shape, np.nan)
        half = len(total) // 2
        before[:half] = total[1 : 2 * half : 2] - total[:half]
        values = statistics_of(self._reference, total, before, blocks * BLOCK, deviations)
        begin = int(values[:, kind].argmax()) + 1
        behind = (len(known) - block - 1) * BLOCK  # rows that came after the block
        last = len(times) - behind  # `times` are of the new blocks alone
        every = _times(self._recent)[: len(self._recent) - behind]
        onset = every[-min(begin * BLOCK, len(every))]
        return Alarm(self.calibration.kinds[kind], Micros(int(onset)), Micros(int(times[last - 1])))

    def status(self) -> DetectorStatus:
        """Return the detector's state."""
        top = self._heights.max()
        score = max(0.0, self.calibration.rarity(float(top))) if np.isfinite(top) else 0.0
        return DetectorStatus(self._seen * BLOCK, score, self._threshold, self._alarm)

    def around(self, onset: Micros) -> tuple[Observations, Observations]:
        """Return those of the kept rows that came before the onset, since the detector started anew, and since it."""
        times = _times(self._recent)
        before, since = (times < onset) & (times > self.since), times >= onset
        return self._recent.take(np.flatnonzero(before)), self._recent.take(np.flatnonzero(since))


def _no_rows(reference: ReferenceScores) -> Observations:
    none = np.zeros(0, np.int64)
    features = np.zeros((0, reference.columns.features))
    return Observations(features, none, none, Levels.none_of(reference.columns.sizes))


def _times(rows: Observations) -> Times:
    """Return the times of rows that `update` took in, each with its own."""
    assert rows.times is not None
    return rows.times


def _join(a: Observations, b: Observations) -> Observations:
    return Observations(
        np.concatenate([a.features, b.features]),
        np.concatenate([a.predictions, b.predictions]),
        np.concatenate([_times(a), _times(b)]),
        a.levels.joined(b.levels),
    )
