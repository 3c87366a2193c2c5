"""Rows for the drift detector's tests, drawn from a known population, and a calibration made of few populations."""

from functools import cache

import numpy as np

from monitoring.alarms.drift.calibration import Calibration, calibrate
from monitoring.alarms.drift.scores import Observations, ReferenceScores

FEATURES, CATEGORIES = 4, 3
CORRELATION = np.array([[1, 0.8, 0, 0], [0.8, 1, 0, 0], [0, 0, 1, 0.3], [0, 0, 0.3, 1]])
REFERENCE_ROWS = 400


def draw(rng: np.random.Generator, number: int) -> Observations:
    """Draw rows: correlated normals, the last rounded so that it has ties; the prediction follows the first."""
    features = rng.standard_normal((number, FEATURES)) @ np.linalg.cholesky(CORRELATION).T
    features[:, 3] = np.round(features[:, 3])
    predictions = np.digitize(features[:, 0] + rng.standard_normal(number), [-0.5, 0.5])
    return Observations(features, predictions.astype(np.int64))


def shifted(rng: np.random.Generator, number: int) -> Observations:
    rows = draw(rng, number)
    rows.features[:, 2] += 1.0
    return rows


def wider(rng: np.random.Generator, number: int) -> Observations:
    rows = draw(rng, number)
    rows.features[:, 2] *= 2
    return rows


def uncorrelated(rng: np.random.Generator, number: int) -> Observations:
    rows = draw(rng, number)
    return Observations(rng.permuted(rows.features, axis=0), rows.predictions)


def incomplete(rng: np.random.Generator, number: int) -> Observations:
    rows = draw(rng, number)
    rows.features[rng.random(number) < 0.2, 1] = np.nan
    return rows


def another_mix(rng: np.random.Generator, number: int) -> Observations:
    rows = draw(rng, number)
    return Observations(rows.features, np.where(rng.random(number) < 0.4, 2, rows.predictions))


def unknown_category(rng: np.random.Generator, number: int) -> Observations:
    rows = draw(rng, number)
    return Observations(rows.features, np.where(rng.random(number) < 0.1, CATEGORIES, rows.predictions))


CHANGES = (shifted, wider, uncorrelated, incomplete, another_mix, unknown_category)


@cache
def reference(seed: int = 0) -> Observations:
    return draw(np.random.default_rng([1, seed]), REFERENCE_ROWS)


def quick(rows: Observations, seed: int = 0, populations: int = 24) -> Calibration:
    """Calibrate with fewer populations than the monitor does: a second instead of ten."""
    return calibrate(rows, CATEGORIES, seed, populations=populations)


@cache
def calibrated(seed: int = 0) -> tuple[ReferenceScores, Calibration]:
    return ReferenceScores(reference(seed), CATEGORIES), quick(reference(seed), seed=seed)
