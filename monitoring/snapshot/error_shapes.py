"""How a regression's errors are spread in the window and in the reference, and what comes of each range of answers."""

from math import isnan

import numpy as np

from monitoring.profile.profile import Floats, Profile
from monitoring.snapshot.shapes import range_names
from monitoring.snapshot.snapshot import AnswerRange, Bin, ErrorShape


def shape_errors(reference: Profile, current: Profile) -> ErrorShape:
    """Return the errors' shares in the grid's bins, and the mean labels of each range of the predictions."""
    edges = current.grid.error_edges
    assert edges is not None  # as a regression's grid has them
    return ErrorShape(_bins(edges.errors, reference, current), _ranges(edges.answers, reference, current))


def _bins(edges: Floats, reference: Profile, current: Profile) -> tuple[Bin, ...]:
    ours, theirs = reference.error_bins.errors, current.error_bins.errors
    return tuple(
        Bin(name, a / max(1, sum(ours)), b / sum(theirs) if sum(theirs) else None)
        for name, a, b in zip(range_names(edges), ours, theirs, strict=True)
    )


def _ranges(edges: Floats, reference: Profile, current: Profile) -> tuple[AnswerRange, ...]:
    """Return what comes of each range of the predictions, but for those between two equal edges, in which none lies."""
    ours, theirs = reference.error_bins, current.error_bins
    wide = [True, *(np.diff(edges) > 0), True]
    means = zip(theirs.mean_predictions, theirs.mean_labels, ours.mean_predictions, ours.mean_labels, strict=True)
    return tuple(
        AnswerRange(name, rows, *(None if isnan(mean) else mean for mean in four))
        for name, rows, four, some in zip(range_names(edges), theirs.rows, means, wide, strict=True)
        if some
    )
