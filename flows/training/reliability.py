"""How often a promoted model is expected to be right at a confidence: its reliability curve."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from sklearn.isotonic import IsotonicRegression

from flows.training.sample import Floats
from monitoring.contract.reference import ReliabilityCurve

BINS, BIN_ROWS = 10, 10  # at most so many bins, each of at least so many rows

Right = npt.NDArray[np.bool_]


def fit_reliability_curve(confidence: Floats, right: Right) -> ReliabilityCurve:
    """Map confidence to the share of rows that are right, by rows (n,) that the model had not seen.

    The rows are cut into bins of equal number by their confidence. Over the bins goes scikit-learn's isotonic
    regression (pool adjacent violators), so that the share never falls as confidence grows. Over the rows themselves it
    would find levels of a few rows at either end, which are all wrong or all right by chance.
    """
    order = np.argsort(confidence, kind="stable")
    bins = np.array_split(order, min(BINS, max(1, len(order) // BIN_ROWS)))
    number = np.array([len(one) for one in bins])
    sure = np.array([confidence[one].astype(np.float64).mean() for one in bins])
    share = np.array([right[one].mean() for one in bins])
    levels = IsotonicRegression(y_min=0, y_max=1).fit_transform(sure, share, sample_weight=number)
    ends = [0, *(np.flatnonzero(np.diff(levels) > 0) + 1).tolist(), len(bins)]
    pooled = [np.concatenate(bins[begin:end]) for begin, end in pairwise(ends)]
    return ReliabilityCurve(
        confidence=tuple(float(confidence[one].astype(np.float64).mean()) for one in pooled),
        accuracy=tuple(float(right[one].mean()) for one in pooled),
        rows=tuple(len(one) for one in pooled),
    )
