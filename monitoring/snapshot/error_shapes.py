"""How a regression's errors are spread in the window and in the reference, and what comes of each range of answers."""

from math import isnan

from monitoring.profile.profile import Profile
from monitoring.snapshot.shapes import range_names
from monitoring.snapshot.snapshot import AnswerRange, Bin, ErrorShape


def shape_errors(reference: Profile, current: Profile) -> ErrorShape:
    """Return the errors' shares in the grid's bins, and the mean labels of each range of the predictions."""
    return ErrorShape(_bins(reference, current), _ranges(reference, current))


def _bins(reference: Profile, current: Profile) -> tuple[Bin, ...]:
    ours, theirs = reference.error_bins.errors, current.error_bins.errors
    names = range_names(current.grid.error_edges)
    return tuple(
        Bin(name, a / max(1, sum(ours)), b / sum(theirs) if sum(theirs) else None)
        for name, a, b in zip(names, ours, theirs, strict=True)
    )


def _ranges(reference: Profile, current: Profile) -> tuple[AnswerRange, ...]:
    ours, theirs = reference.error_bins, current.error_bins
    names = range_names(current.grid.numeric.edges[-1][1:-1])
    means = zip(theirs.mean_predictions, theirs.mean_labels, ours.mean_predictions, ours.mean_labels, strict=True)
    return tuple(
        AnswerRange(name, rows, *(None if isnan(mean) else mean for mean in four))
        for name, rows, four in zip(names, theirs.rows, means, strict=True)
    )
