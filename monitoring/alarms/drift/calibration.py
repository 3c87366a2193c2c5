"""Calibration: how many rows lie between false alarms at each score, for one reference.

A double bootstrap: from each of many populations that the reference may come from, a pseudo-reference and a
pseudo-stream are drawn and scored as the detector does, so that the reference's own sampling error is covered. Two fits
follow.

1. Each statistic of each window is put on one scale. Maxima over stretches of the stream follow a Gumbel law (Fisher
   and Tippett 1928), whose location and scale are fitted to the upper half of them over all populations.
2. The largest of these, over statistics and windows, follows one too. By chance a pseudo-reference is more or less like
   its population, so there is a level per population; the one that is kept lies LEVEL_DEVIATIONS above their mean. The
   scale is that of all populations together, which is larger than within one, times TAIL: real streams have heavier
   tails than smoothed ones, and beyond the rows that were drawn the law extrapolates.

Alarm times of such maxima are asymptotically exponential (Siegmund and Venkatraman 1995; Lai 1995 on window-limited
likelihood ratios; Chen, Wang and Samworth 2022 on several scales in many dimensions).
"""

import json
import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, fields

import numpy as np

from monitoring.alarms.drift.bootstrap import Bootstrap
from monitoring.alarms.drift.scores import Floats, Observations, ReferenceScores
from monitoring.alarms.drift.statistics import KINDS
from monitoring.alarms.drift.windows import BLOCK, WindowStatistics, window_lengths, window_statistics
from monitoring.profile.threads import threads

POPULATIONS = 100
STRETCHES = 12  # of the pseudo-stream, per population
STRETCH = 1000  # rows
# standard deviations of the level above its mean over populations: real streams differ more than smoothed ones
LEVEL_DEVIATIONS = 3.5
TAIL = 1.2  # how much heavier the tails of real streams are than drawn ones, as docs/alarms.md measures them
FLATTEST = 0.3  # the least scale of a statistic, where the law of exact p-values has log10(e) = 0.43

Progress = Callable[[float], None]


@dataclass(frozen=True, eq=False)
class Calibration:
    """The Gumbel laws of the statistics, and of the largest of them.

    `lengths` are the windows' in blocks. `location` and `scale` (windows, kinds) put every statistic on a common scale,
    on which it is called a height; `level` and `spread` are location and scale of the largest height in a stretch.
    """

    lengths: tuple[int, ...]
    location: Floats
    scale: Floats
    level: float
    spread: float

    def heights(self, window: WindowStatistics) -> Floats:
        """Return a window's statistics on the common scale, (T, kinds)."""
        place = self.lengths.index(window.length)
        heights: Floats = (window.values - self.location[place]) / self.scale[place]
        return heights

    def rarity(self, height: float) -> float:
        """Return log10 of the rows between false alarms at this height."""
        return math.log10(STRETCH) + (height - self.level) / (self.spread * math.log(10))

    def height(self, rows: float) -> float:
        """Return the height that false alarms reach once in so many rows."""
        return self.level + self.spread * math.log(rows / STRETCH)

    def to_json(self) -> str:
        """Return the calibration as JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values |= {"location": self.location.tolist(), "scale": self.scale.tolist(), "kinds": KINDS, "block": BLOCK}
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Calibration":
        """Read what `to_json` returned; raise ValueError, KeyError or TypeError if it is something else."""
        values = json.loads(text)
        if tuple(values.pop("kinds")) != KINDS or values.pop("block") != BLOCK:
            raise ValueError("a calibration of other statistics or blocks")
        arrays = {name: np.array(values[name]) for name in ("location", "scale")}
        return cls(**values | arrays | {"lengths": tuple(values["lengths"])})


def calibrate(
    reference: Observations,
    categories: int,
    seed: int,
    progress: Progress = lambda _: None,
    populations: int = POPULATIONS,
    *,
    workers: int = 1,
) -> Calibration:
    """Calibrate for a reference; call `progress` with the share that is done, 0 to 1.

    The result is the same for the same seed, however many workers (threads) share the work.
    """
    reference = _coded(reference)
    lengths = window_lengths(len(reference))
    drawn = _draw(Bootstrap(reference, categories), len(reference), np.random.default_rng(seed))

    def find_maxima(rows: tuple[Observations, Observations]) -> Floats:
        """Return the maxima (stretches, windows, kinds) of a pseudo-stream, held against its pseudo-reference."""
        scores = ReferenceScores(rows[0], categories)
        return stretch_maxima(window_statistics(scores, lengths, scores.sums(rows[1], BLOCK), 0, 0))

    maxima: list[Floats] = []
    under_way: deque[Future[Floats]] = deque()
    with threads(workers) as pool:
        for _ in range(populations):
            if len(under_way) > workers:  # no more than the workers need: wide populations are large
                maxima.append(under_way.popleft().result())
                progress(len(maxima) / populations)
            under_way.append(pool.submit(find_maxima, next(drawn)))
        maxima += [one.result() for one in under_way]
    progress(1.0)
    return fit(lengths, np.stack(maxima))


def _coded(rows: Observations) -> Observations:
    """Return rows with each value's place among the distinct ones in its stead: scores depend on the order alone."""
    features = rows.features.copy()
    for column in features.T:
        finite = np.isfinite(column)
        column[finite] = np.unique(column[finite], return_inverse=True)[1]
    return Observations(features, rows.predictions)


def _draw(bootstrap: Bootstrap, rows: int, rng: np.random.Generator) -> Iterator[tuple[Observations, Observations]]:
    """Yield the pseudo-reference, of so many rows, and the pseudo-stream of population after population."""
    while True:
        population = bootstrap.draw(rng)
        yield population.rows(rows), population.rows(STRETCHES * STRETCH)


def stretch_maxima(windows: list[WindowStatistics]) -> Floats:
    """Return each stretch's largest statistics (stretches, windows, kinds), -inf where no window was full."""
    maxima = np.full((STRETCHES, len(windows), len(KINDS)), -np.inf)
    for place, window in enumerate(windows):
        np.maximum.at(maxima[:, place], (window.ends - 1) * BLOCK // STRETCH, window.values)
    return maxima


def fit(lengths: tuple[int, ...], maxima: Floats) -> Calibration:
    """Fit the Gumbel laws to maxima (populations, stretches, windows, kinds)."""
    location, scale = np.empty((2, *maxima.shape[2:]))
    for place in range(len(lengths)):
        values = maxima[:, :, place].reshape(-1, maxima.shape[3])
        location[place], scale[place] = _gumbel(values[np.isfinite(values[:, 0])])
    scale = np.maximum(scale, FLATTEST)
    heights = ((maxima - location) / scale).max((2, 3))
    levels = heights.mean(1)
    residual, _ = _gumbel((heights - levels[:, None]).reshape(-1, 1))
    _, spread = _gumbel(heights.reshape(-1, 1))
    level = float(levels.mean() + LEVEL_DEVIATIONS * levels.std() + residual[0])
    return Calibration(lengths, location, scale, level, TAIL * float(spread[0]))


def _gumbel(values: Floats) -> tuple[Floats, Floats]:
    """Fit location and scale, (c,) each, to the upper half of each column (n, c), by least squares on quantiles."""
    values = np.sort(values, axis=0)
    number = len(values)
    reduced = -np.log(-np.log((np.arange(number) + 0.5) / number))[number // 2 :]
    upper = values[number // 2 :]
    centred = reduced - reduced.mean()
    scale: Floats = centred @ upper / (centred @ centred)
    return upper.mean(0) - scale * reduced.mean(), scale
