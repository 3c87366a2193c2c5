"""River's ADWIN over each column of a log."""

import numpy as np
from river.drift import ADWIN

from benchmarks.alarms.traffic.peers import DAY
from benchmarks.alarms.traffic.streams import Stream


class Adwin:
    """One ADWIN per column, which has seen nothing before the log: it knows no reference; `setting` is -log10 delta."""

    @staticmethod
    def alarms(reference: Stream, log: Stream, setting: float) -> list[int]:
        """Return the rows after which any column's detector has detected a change."""
        center, spread = np.nanmean(reference.columns, axis=0), np.nanstd(reference.columns, axis=0)
        found: set[int] = set()
        for column in ((log.columns - center) / spread).T:
            detector = ADWIN(delta=10.0**-setting)
            for row, value in enumerate(np.nan_to_num(column).tolist(), 1):
                detector.update(value)
                if detector.drift_detected:
                    found.add(row)
        return sorted(found)

    @classmethod
    def _share(cls, pairs: list[tuple[Stream, Stream]], setting: float) -> float:
        inside = total = 0.0
        for reference, log in pairs:
            until = 0.0
            for row in cls.alarms(reference, log, setting):
                begin = max(float(log.times[row - 1]), until)
                until = min(float(log.times[row - 1]) + DAY, float(log.times[-1]))
                inside += max(0.0, until - begin)
            total += float(log.times[-1] - log.times[0])
        return inside / total

    def tune(self, pairs: list[tuple[Stream, Stream]], share: float) -> tuple[float, float]:
        """Return the setting whose share of time in alarm is nearest below what is asked, by bisection; see Scored."""
        low, high = 0.0, 300.0
        for _ in range(7):
            middle = (low + high) / 2
            low, high = (low, middle) if self._share(pairs, middle) <= share else (middle, high)
        return high, self._share(pairs, high)

    def detect(self, reference: Stream, head: Stream, tail: Stream, setting: float) -> tuple[str, int]:
        """See Scored."""
        rows = self.alarms(reference, head.then(tail), setting)
        begun = tail.times[0]
        if any(row <= len(head) and head.times[row - 1] > begun - DAY for row in rows):
            return "before", 0
        after = [row - len(head) for row in rows if row > len(head)]
        return ("at", after[0]) if after else ("silent", len(tail))


PEER = Adwin()
