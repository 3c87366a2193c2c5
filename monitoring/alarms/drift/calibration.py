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
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import TypeVar

import numpy as np
from scipy import special

from monitoring.alarms.drift.bootstrap import Bootstrap
from monitoring.alarms.drift.cycles import Drawn, Stretch, draw_cycles
from monitoring.alarms.drift.dependent_statistics import DEPENDENT_KINDS, Deviations, components, jumps
from monitoring.alarms.drift.levels import LEVEL_KINDS
from monitoring.alarms.drift.rhythm import NO_RHYTHM, Rhythm
from monitoring.alarms.drift.scores import Counts, Observations, ReferenceScores, ScoreColumns, learn_usual
from monitoring.alarms.drift.statistics import KINDS
from monitoring.alarms.drift.support import Support
from monitoring.alarms.drift.usual import Cycle, Floats
from monitoring.alarms.drift.windows import (
    BLOCK,
    STRIDE,
    WindowStatistics,
    joints_of,
    sums_before,
    window_lengths,
    window_statistics,
)
from monitoring.profile.threads import threads

POPULATIONS = 100
STRETCHES = 12  # of the pseudo-stream, per population
STRETCH = 1000  # rows
# standard deviations of the level above its mean over populations: real streams differ more than smoothed ones
LEVEL_DEVIATIONS = 3.5
TAIL = 1.2  # how much heavier the tails of real streams are than drawn ones, as docs/alarms.md measures them
JUMP = 8  # a jump is looked for in windows up to this part of a cycle
NEVER = 1e9  # the deviation of a component that is not used
FLATTEST = 0.3  # the least scale of a statistic, where the law of exact p-values has log10(e) = 0.43

Progress = Callable[[float], None]
Population = TypeVar("Population")  # what is drawn of one


@dataclass(frozen=True, eq=False)
class Calibration:
    """The Gumbel laws of the statistics, and of the largest of them.

    `lengths` are the windows' in blocks. `location` and `scale` (windows, kinds) put every statistic on a common scale,
    on which it is called a height; `level` and `spread` are location and scale of the largest height in a stretch.
    `deviations` are those of dependent rows, None for rows that are drawn one by one. It was made on so many
    `populations` of a reference that stands for so many `reference_rows`.
    """

    lengths: tuple[int, ...]
    location: Floats
    scale: Floats
    level: float
    spread: float
    deviations: Deviations | None = None
    rhythm: Rhythm = NO_RHYTHM
    populations: int = POPULATIONS
    reference_rows: float = 0.0

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of the statistics."""
        return _kinds(self.location, self.deviations)

    def heights(self, window: WindowStatistics) -> Floats:
        """Return a window's statistics on the common scale, (T, kinds)."""
        place = self.lengths.index(window.length)
        heights: Floats = (window.values - self.location[place]) / self.scale[place]
        return heights

    def at_density(self, ratio: float) -> "Calibration":
        """Return it for rows of which so many times as many come in the same time; see `Deviations.at_density`."""
        if ratio == 1:
            return self
        deviations = None if self.deviations is None else self.deviations.at_density(ratio)
        return replace(self, deviations=deviations, reference_rows=self.reference_rows * ratio)

    def support(self, promised: float, rate: float) -> Support:
        """Return how far it supports a promise of so many rows, at so many rows a second; see `supported_rows`."""
        supported = supported_rows(self.rhythm, self.reference_rows, self.populations, rate)
        return Support(promised, supported, rate, self.rhythm)

    def rarity(self, height: float) -> float:
        """Return log10 of the rows between false alarms at this height."""
        return math.log10(STRETCH) + (height - self.level) / (self.spread * math.log(10))

    def height(self, rows: float) -> float:
        """Return the height that false alarms reach once in so many rows."""
        return self.level + self.spread * math.log(rows / STRETCH)

    def to_json(self) -> str:
        """Return the calibration as JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values |= {"location": self.location.tolist(), "scale": self.scale.tolist(), "kinds": self.kinds}
        values |= {"rhythm": asdict(self.rhythm), "block": BLOCK, "deviations": None}
        if self.deviations is not None:
            found = {"lengths": self.deviations.lengths.tolist(), "values": self.deviations.values.round(4).tolist()}
            values["deviations"] = found
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Calibration":
        """Read what `to_json` returned; raise ValueError, KeyError or TypeError if it is something else."""
        values = json.loads(text)
        deviations, rhythm = values["deviations"], values["rhythm"]
        arrays = {name: np.array(values[name]) for name in ("location", "scale")}
        if tuple(values.pop("kinds")) != _kinds(arrays["location"], deviations) or values.pop("block") != BLOCK:
            raise ValueError("a calibration of other statistics or blocks")
        if deviations is not None:
            deviations = Deviations(*(np.array(deviations[name]) for name in ("lengths", "values")))
        if missing := {"populations", "reference_rows"} - {*values} or {"dependent"} - {*rhythm}:
            raise ValueError(f"a calibration without {missing}: it was made by an earlier version")
        cycle = Cycle(**rhythm["cycle"]) if rhythm["cycle"] else None
        found = {"lengths": tuple(values["lengths"]), "rhythm": Rhythm(**rhythm | {"cycle": cycle})}
        found["deviations"] = deviations
        return cls(**values | arrays | found)


def _kinds(location: Floats, deviations: object | None) -> tuple[str, ...]:
    """Return the kinds of so many statistics (windows, kinds): those of levels come last, where there are any."""
    kinds = KINDS if deviations is None else DEPENDENT_KINDS
    return kinds if location.shape[1] == len(kinds) else (*kinds, *LEVEL_KINDS)


def supported_rows(rhythm: Rhythm, reference_rows: float, populations: int = POPULATIONS, rate: float = 0.0) -> float:
    """Return how many rows without change a calibration sees: a promise of a rarer alarm is extrapolated from them.

    They are those that it draws. With a rhythm they are no more than the reference's own, nor than come in the time of
    its whole cycles at the present `rate` (rows a second, 0 if unknown): a cycle that is used again is no new one. None
    are like the traffic where rows depend on those before them, and no rhythm is in the alarm.
    """
    drawn = float(populations * STRETCHES * STRETCH)
    if rhythm.cycle is None:
        return 0.0 if rhythm.dependent else drawn
    own = rhythm.cycles * rhythm.cycle.length / 1e6 * rate if rate else reference_rows
    return max(1.0, min(drawn, reference_rows, own))


def calibrate(
    reference: Observations,
    categories: int,
    seed: int,
    progress: Progress = lambda _: None,
    populations: int = POPULATIONS,
    *,
    rhythm: Rhythm = NO_RHYTHM,
    earlier: Observations | None = None,
    workers: int = 1,
) -> Calibration:
    """Calibrate for a reference with a rhythm or none; call `progress` with the share that is done, 0 to 1.

    A rhythm of `earlier` rows is calibrated on these, for a reference as short as this one.

    The result is the same for the same seed, however many workers (threads) share the work.
    """
    lengths, rng = window_lengths(len(reference)), np.random.default_rng(seed)
    if rhythm.cycle is not None:
        cycles = earlier if rhythm.earlier and earlier is not None else reference
        stretch = None if cycles is reference else Stretch.of(reference, cycles, rhythm.cycle)
        populated = draw_cycles(cycles, categories, rhythm.cycle, STRETCHES * STRETCH, rng, stretch=stretch)
        each = partial(_each, drawn=populated, populations=populations, workers=workers)
        kinds = ScoreColumns(reference.features.shape[1], categories, sizes=reference.levels.sizes)
        per_cycle = len(cycles) / rhythm.cycles
        within = tuple(length for length in lengths if length * BLOCK <= max(BLOCK, per_cycle))
        found = _calibrate_on_cycles(within, kinds, per_cycle, rhythm, each=each, progress=progress)
        return replace(found, populations=populations, reference_rows=len(cycles))
    reference = _coded(reference)
    drawn = _draw(Bootstrap(reference, categories), len(reference), rng)

    def find_maxima(rows: tuple[Observations, Observations]) -> Floats:
        """Return the maxima (stretches, windows, kinds) of a pseudo-stream, held against its pseudo-reference."""
        scores = ReferenceScores(rows[0], categories)
        return stretch_maxima(window_statistics(scores, lengths, scores.sums(rows[1], BLOCK), 0, 0))

    maxima = _each(find_maxima, drawn=drawn, populations=populations, progress=progress, workers=workers)
    location, scale, level, spread = fit(maxima)
    found = Calibration(lengths, location, scale, level, spread, rhythm=rhythm)
    return replace(found, populations=populations, reference_rows=len(reference))


def _calibrate_on_cycles(
    lengths: tuple[int, ...],
    columns: ScoreColumns,
    per_cycle: float,
    rhythm: Rhythm,
    *,
    each: Callable[..., Floats],
    progress: Progress,
) -> Calibration:
    """Calibrate on populations of whole cycles: the deviations of the components first, then the laws.

    `lengths` are those of windows in blocks, none longer than a cycle, for the cycles hold too few such windows that
    share no rows; `per_cycle` are the rows of a cycle. `each` is `_each` of all but what is
    to be found, and the progress.
    """
    cycle = rhythm.cycle
    assert cycle is not None

    def sums_of(rows: Drawn) -> tuple[ReferenceScores, Floats, Counts]:
        """Return a population's scores, its stream's sums, and after how many blocks it is joined."""
        assert rows.stream.times is not None
        usual = learn_usual(rows.known, columns.categories, cycle, earlier=rhythm.earlier)
        scores = ReferenceScores(rows.reference, columns.categories, cycle, usual)
        return scores, scores.sums(rows.stream, BLOCK), joints_of(rows.stream.times)

    def find_deviations(rows: Drawn) -> Floats:
        """Return the squares (2, windows, C) of the components on a pseudo-stream: their mean, and of their maxima."""
        scores, sums, joints = sums_of(rows)
        total = np.concatenate([np.zeros((1, sums.shape[1])), np.cumsum(sums, axis=0)])
        return np.stack([describe_components(scores, total, joints, length) for length in lengths], axis=1)

    squares, maxima = _mean(each(find_deviations, progress=half(progress, 0)))
    long = np.array(lengths) * BLOCK > per_cycle / JUMP
    for found in (squares, maxima):  # no cycle is whole in the streams that long windows and those before them span
        found[np.ix_(long, jumps(columns))] = np.nan
    deviations = deviations_of(np.array(lengths) * BLOCK, squares, maxima)

    def find_maxima(rows: Drawn) -> Floats:
        scores, sums, joints = sums_of(rows)
        return stretch_maxima(window_statistics(scores, lengths, sums, 0, 0, deviations=deviations, joints=joints))

    maxima = each(find_maxima, progress=half(progress, 1))
    location, scale, level, spread = fit(maxima)
    return Calibration(lengths, location, scale, level, spread, deviations, rhythm)


def half(progress: Progress, which: int) -> Progress:
    """Return the progress of the first (0) or the second half (1)."""
    return lambda done: progress((which + done) / 2)


def describe_components(scores: ReferenceScores, total: Floats, joints: Counts, length: int) -> Floats:
    """Return two squares (2, C) of each component, of windows of so many blocks of a stream: mean, and of maxima.

    The maxima are those in each stretch. NaN for a component that no window has.
    """
    ends = np.arange(length, len(total), max(1, length // STRIDE))
    before = sums_before(total, ends, length, joints)
    squares = components(scores, total[ends] - total[ends - length], before, length * BLOCK) ** 2
    maxima = np.full((STRETCHES, squares.shape[1]), np.nan)
    np.fmax.at(maxima, (ends - 1) * BLOCK // STRETCH, squares)
    return np.stack([_mean(squares), _mean(maxima)])


def _mean(values: Floats) -> Floats:
    """Return the mean over the first axis of those that are not NaN, NaN where all are."""
    known = ~np.isnan(values)
    number = known.sum(0)
    mean: Floats = np.where(number > 0, np.where(known, values, 0).sum(0) / np.maximum(number, 1), np.nan)
    return mean


def deviations_of(lengths: Counts, squares: Floats, maxima: Floats) -> Deviations:
    """Return the deviations (W, C) from the means of squares and of stretches' largest squares, (W, C) both.

    A component deviates as its largest values do, if those are larger than normal ones would be: it is these that the
    threshold has to stay above.
    """
    windows = np.maximum(1, STRETCH / lengths)  # that share no rows, in a stretch
    expected = special.ndtri((1 + 0.5 ** (1 / (2 * windows))) / 2)[:, None] ** 2
    largest = np.fmax(squares, maxima / expected)
    return Deviations(lengths, np.sqrt(np.where(np.isnan(largest), NEVER, np.maximum(1, largest))))


def _each(
    find: Callable[[Population], Floats],
    *,
    drawn: Iterator[Population],
    populations: int,
    progress: Progress,
    workers: int,
) -> Floats:
    """Return what is found of each population (populations, ...), in their order, on so many threads."""
    found: list[Floats] = []
    under_way: deque[Future[Floats]] = deque()
    with threads(workers) as pool:
        for _ in range(populations):
            if len(under_way) > workers:  # no more than the workers need: wide populations are large
                found.append(under_way.popleft().result())
                progress(len(found) / populations)
            under_way.append(pool.submit(find, next(drawn)))
        found += [one.result() for one in under_way]
    progress(1.0)
    return np.stack(found)


def _coded(rows: Observations) -> Observations:
    """Return rows with each value's place among the distinct ones in its stead: scores depend on the order alone."""
    features = rows.features.copy()
    for column in features.T:
        finite = np.isfinite(column)
        column[finite] = np.unique(column[finite], return_inverse=True)[1]
    return replace(rows, features=features)


def _draw(bootstrap: Bootstrap, rows: int, rng: np.random.Generator) -> Iterator[tuple[Observations, Observations]]:
    """Yield the pseudo-reference, of so many rows, and the pseudo-stream of population after population."""
    while True:
        population = bootstrap.draw(rng)
        yield population.rows(rows), population.rows(STRETCHES * STRETCH)


def stretch_maxima(windows: list[WindowStatistics]) -> Floats:
    """Return each stretch's largest statistics (stretches, windows, kinds), -inf where no window was full."""
    maxima = np.full((STRETCHES, len(windows), windows[0].values.shape[1]), -np.inf)
    for place, window in enumerate(windows):
        np.maximum.at(maxima[:, place], (window.ends - 1) * BLOCK // STRETCH, window.values)
    return maxima


def fit(maxima: Floats) -> tuple[Floats, Floats, float, float]:
    """Fit the Gumbel laws to maxima (populations, stretches, windows, kinds): location, scale, level and spread."""
    location, scale = np.empty((2, *maxima.shape[2:]))
    for place in range(maxima.shape[2]):
        values = maxima[:, :, place].reshape(-1, maxima.shape[3])
        location[place], scale[place] = _gumbel(values[np.isfinite(values[:, 0])])
    scale = np.maximum(scale, FLATTEST)
    heights = ((maxima - location) / scale).max((2, 3))
    levels = heights.mean(1)
    residual, _ = _gumbel((heights - levels[:, None]).reshape(-1, 1))
    _, spread = _gumbel(heights.reshape(-1, 1))
    level = float(levels.mean() + LEVEL_DEVIATIONS * levels.std() + residual[0])
    return location, scale, level, TAIL * float(spread[0])


def _gumbel(values: Floats) -> tuple[Floats, Floats]:
    """Fit location and scale, (c,) each, to the upper half of each column (n, c), by least squares on quantiles."""
    values = np.sort(values, axis=0)
    number = len(values)
    reduced = -np.log(-np.log((np.arange(number) + 0.5) / number))[number // 2 :]
    upper = values[number // 2 :]
    centred = reduced - reduced.mean()
    scale: Floats = centred @ upper / (centred @ centred)
    return upper.mean(0) - scale * reduced.mean(), scale
