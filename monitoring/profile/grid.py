"""The grid: all that rows are counted against, made from the reference."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from monitoring.contract.config import Model
from monitoring.profile.bounds import Bounds
from monitoring.profile.categorical import UNSEEN_KEPT, LevelGrid
from monitoring.profile.distinct_rows import KnownRows
from monitoring.profile.error_bins import ErrorBins, ErrorEdges, Floats
from monitoring.profile.label_scores import FARTHEST, STEPS
from monitoring.profile.numeric import NumericGrid
from monitoring.profile.segments import SegmentGrid

FORMAT = 6
CONFIDENCE_BINS = 1000


@dataclass(frozen=True, eq=False)
class Grid:
    """What rows are counted against, by kind of column; `known` are the reference's rows, to tell their repetitions.

    `bounds` are those that the config's tests name, `segments` the groups that it does.
    `error_edges` are those of a regression's errors; a classification has none.
    """

    model: Model
    numeric: NumericGrid
    categorical: LevelGrid
    known: KnownRows
    error_edges: ErrorEdges | None
    bounds: Bounds = field(default_factory=Bounds)
    segments: SegmentGrid = field(default_factory=lambda: SegmentGrid({}, {}))

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of all that a profile's counts depend on."""
        model = self.model
        types = map(str, self.numeric.types)
        names = (FORMAT, CONFIDENCE_BINS, *types, *model.features, model.prediction, model.target)
        scored = (STEPS, FARTHEST, model.probabilities, *model.scored, *model.categories) if model.scored else ()
        kinds = (model.task, *self.numeric.names, UNSEEN_KEPT, *zip(*self._levels, strict=True))
        digest = hashlib.sha256(repr((names, kinds, scored)).encode())
        for marks in self.numeric.marks:
            digest.update(len(marks).to_bytes(8, "little") + marks.values.tobytes())
        digest.update(self.known.hashes.tobytes())
        digest.update(repr((*self.bounds.places, *self.bounds.listed)).encode())
        digest.update(self.segments.key.encode() if self.segments.groups else b"")
        if self.error_edges is not None:
            digest.update(self.error_edges.errors.tobytes() + self.error_edges.answers.tobytes())
        return digest.hexdigest()

    @property
    def _levels(self) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        return self.categorical.names, self.categorical.levels

    def error_bins(self, predictions: Floats, labels: Floats) -> ErrorBins:
        """Count the errors of a regression's rows (n,)."""
        return ErrorBins() if self.error_edges is None else ErrorBins.of(predictions, labels, self.error_edges)

    @property
    def texts(self) -> tuple[str, ...]:
        """Return the tested columns of text: the categorical features, and the prediction where it is a category."""
        model = self.model
        predicted = (model.prediction,) if model.kind(model.prediction).name == "categorical" else ()
        return (*self.categorical.names, *predicted)
