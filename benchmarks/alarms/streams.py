"""Rows as the model's log would hold them, without end and with known truth: a steady stream, and named shifts of it.

References and streams are drawn by the same source, so that nothing differs between them until a shift is asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from benchmarks.alarms.rows import Codes, Features, Rows
from data import sources
from data.drifts import ActiveDrifts, choose, load_drifts
from flows.training.pipeline import train
from flows.training.sample import Sample
from monitoring.contract.config import Model
from monitoring.contract.config_file import load_config

ROOT = Path(__file__).parents[2]
TRACKS = ROOT.parent / "shared/gtzan/mfcc_means.parquet"
TRAINING_ROWS, TRAINING_SEED = 3_000, 20_261_101
JITTER = 0.1  # of a feature's standard deviation, so that no real track comes twice exactly
BLOCK = 2_000  # rows that a row's features are taken from, once correlations go
MEAN_ROWS = 200_000  # rows that a source's overall mean is measured on

Mix = dict[str, float]

__all__ = ["SHIFTS", "Rows", "Source", "drawn", "predict", "resampled"]


@cache
def model() -> Model:
    """Return the model that the shipped config describes."""
    return load_config(ROOT / "monitoring/config.yml").model


@cache
def _classifier() -> tuple[Pipeline, Codes]:
    """Train the one classifier of all streams on drawn rows; return it and the code of each of its classes."""
    source = sources.drawn(model())
    values, labels = source.draw(np.random.default_rng(TRAINING_SEED), TRAINING_ROWS, source.baseline)
    pipeline = train(Sample(values.astype(np.float32), labels.astype(object)))
    return pipeline, np.array([model().categories.index(name) for name in pipeline.classes_])


def predict(features: Features) -> Codes:
    """Return the classifier's answers as codes into the config's categories."""
    pipeline, codes = _classifier()
    with threadpool_limits(1):
        return codes[np.argmax(pipeline.decision_function(features), axis=1)]


@dataclass(frozen=True)
class Source:
    """Where rows come from: `steady` ones, and `shifted` ones by a name in SHIFTS."""

    name: str
    rows: sources.Source

    @cached_property
    def mean(self) -> npt.NDArray[np.float64]:
        """The features' overall means while nothing drifts."""
        return self.draw(np.random.default_rng(0), MEAN_ROWS, dict(self.rows.baseline)).mean(axis=0)

    def draw(self, rng: np.random.Generator, rows: int, mix: Mix) -> npt.NDArray[np.float64]:
        """Draw features without predictions, with these weights of the categories."""
        return self.rows.draw(rng, rows, mix)[0]

    def steady(self, rng: np.random.Generator, rows: int) -> Rows:
        """Draw rows while nothing drifts."""
        return _predicted(self.draw(rng, rows, dict(self.rows.baseline)))

    def shifted(self, name: str, rng: np.random.Generator, rows: int) -> Rows:
        """Draw rows under a shift: a name in SHIFTS. Which genre a mix favours follows from the generator's seed."""
        return _predicted(SHIFTS[name](self, rng, rows))


Shift = Callable[[Source, np.random.Generator, int], npt.NDArray[np.float64]]


def _predicted(values: npt.NDArray[np.float64]) -> Rows:
    features = values.astype(np.float32)
    return Rows(features, predict(features) if len(features) else np.empty(0, dtype=np.intp))


@cache
def _drift(name: str, strength: float) -> ActiveDrifts:
    return choose(load_drifts(), [name], model(), strength)


def _written(name: str, strength: float) -> Shift:
    """Return a drift of drifts.yml at this strength."""

    def draw(source: Source, rng: np.random.Generator, rows: int) -> npt.NDArray[np.float64]:
        values = source.draw(rng, rows, dict(source.rows.baseline))
        return _drift(name, strength).apply(values, model().features, rng)

    return draw


def _favourite(rng: np.random.Generator, number: int) -> int:
    """Return a number below `number` that cycles with the generator's seed and stays the same while it is used."""
    sequence = rng.bit_generator.seed_seq
    entropy = sequence.entropy if isinstance(sequence.entropy, (list, tuple)) else [sequence.entropy]
    return int([*entropy, *sequence.spawn_key][-1]) % number


def _mixed(share: float) -> Shift:
    """Return a shift in which this share of the rows comes from one category, and the rest from all, as usual."""

    def draw(source: Source, rng: np.random.Generator, rows: int) -> npt.NDArray[np.float64]:
        total = sum(source.rows.baseline.values())
        mix = {name: (1 - share) * weight / total for name, weight in source.rows.baseline.items()}
        mix[sorted(mix)[_favourite(rng, len(mix))]] += share
        return source.draw(rng, rows, mix)

    return draw


def _missing(share: float) -> Shift:
    def draw(source: Source, rng: np.random.Generator, rows: int) -> npt.NDArray[np.float64]:
        values = source.draw(rng, rows, dict(source.rows.baseline))
        values[rng.random(values.shape) < share] = np.nan
        return values

    return draw


def _spread(factor: float) -> Shift:
    """Return a shift that multiplies each feature's variance by a factor and leaves its mean."""

    def draw(source: Source, rng: np.random.Generator, rows: int) -> npt.NDArray[np.float64]:
        values = source.draw(rng, rows, dict(source.rows.baseline))
        return source.mean + (values - source.mean) * np.sqrt(factor)

    return draw


def _independent(source: Source, rng: np.random.Generator, rows: int) -> npt.NDArray[np.float64]:
    """Draw rows whose features each come from another row: the marginal distributions stay, the correlations go."""
    pool = source.draw(rng, max(rows, BLOCK), dict(source.rows.baseline))
    return rng.permuted(pool, axis=0)[:rows]


SHIFTS: dict[str, Shift] = {
    "gain_1db": _written("gain", 1 / 6),
    "gain_3db": _written("gain", 1 / 2),
    "gain_6db": _written("gain", 1),
    "low_pass": _written("low_pass", 1),
    "noise": _written("noise_floor", 1),
    "mix_10": _mixed(0.1),
    "mix_20": _mixed(0.2),
    "mix_40": _mixed(0.4),
    "missing_5": _missing(0.05),
    "variance": _spread(1.5),
    "correlation": _independent,
}


@cache
def drawn() -> Source:
    """Return the source that draws from the shipped per-genre figures."""
    return Source("drawn", sources.drawn(model()))


@cache
def resampled(path: Path = TRACKS) -> Source:
    """Return the source that takes a file's real tracks again and again, each time with a little noise."""
    return Source("resampled", sources.resampled(model(), path, JITTER))
