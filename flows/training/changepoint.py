"""The last changepoint of the rows: from there on their distribution is one."""

import numpy as np
import numpy.typing as npt
from scipy.special import kolmogorov

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]

STEP = 25
SHORTEST = 50
LEVEL = 0.001


def last_changepoint(features: Floats, level: float = LEVEL) -> int:
    """Return the first row after the last change of distribution of rows (n, features), oldest first; 0 without one.

    Binary segmentation (Scott & Knott 1974) with the two-sample Kolmogorov-Smirnov test: among splits every STEP rows
    the one with the smallest p-value of any feature is taken. If that is below `level` after Bonferroni's
    correction for all splits and features, its place is refined to the row, the older side is dropped, and the newer
    one searched again. A missing value counts as a value below all others, so that a change in what is missing is a
    change too.
    """
    filled = np.where(np.isnan(features), -np.inf, features)
    start = 0
    while (split := _change(filled[start:], level)) is not None:
        start += split
    return start


def _change(values: Floats, level: float) -> int | None:
    rows, features = values.shape
    splits = np.arange(SHORTEST, rows - SHORTEST + 1, STEP)
    if not len(splits):
        return None
    best, evidence = _strongest(values, splits)
    if float(kolmogorov(evidence)) * len(splits) * features >= level:
        return None
    nearby = np.arange(max(1, best - STEP + 1), min(rows - 1, best + STEP - 1) + 1)
    return _strongest(values, nearby)[0]


def _strongest(values: Floats, splits: npt.NDArray[np.intp]) -> tuple[int, float]:
    evidence = np.max([_ks_scaled(column, splits) for column in values.T], axis=0)
    best = int(np.argmax(evidence))
    return int(splits[best]), float(evidence[best])


def _ks_scaled(column: Floats, splits: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """Return sqrt(n·m/(n+m))·D of older against newer rows, per split."""
    rows = len(column)
    order = np.argsort(column, kind="stable")
    ordered = column[order]
    last_of_equals = np.append(ordered[1:] != ordered[:-1], True)
    older = order[None, :] < splits[:, None]
    share_older = np.cumsum(older, axis=1) / splits[:, None]
    share_newer = np.cumsum(~older, axis=1) / (rows - splits)[:, None]
    distance = np.abs(share_older - share_newer)[:, last_of_equals].max(axis=1)
    return np.asarray(np.sqrt(splits * (rows - splits) / rows) * distance)
