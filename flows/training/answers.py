"""What a model answers on labelled rows."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flows.training.sample import Labels

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """A model's answers on rows with these labels (n,): predictions (n,) and probabilities (n, classes) of `classes`.

    A classification's row that the model has no answer for counts as wrong; its probabilities are NaN. A regression
    has no probabilities, and NaN for a row without an answer.
    """

    labels: Labels
    predicted: Labels
    probabilities: npt.NDArray[np.float64]
    classes: tuple[str, ...]

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Return which rows are right (n,)."""
        return np.asarray(self.predicted == self.labels, dtype=np.bool_)

    @property
    def errors(self) -> Values:
        """Return the errors of numbers (n,), prediction less label.

        No answer is as far off as the label that is farthest from their mean.
        """
        farthest = float(np.abs(self.labels - self.labels.mean()).max())
        errors = np.asarray(self.predicted, np.float64) - self.labels
        return np.where(np.isfinite(errors), errors, farthest)

    @property
    def confidence(self) -> Values:
        """Return the probability of what each row was answered with (n,), as it is logged; 0 without one."""
        known = np.nan_to_num(self.probabilities)
        return np.asarray((known * (self.predicted[:, None] == np.array(self.classes, object))).sum(axis=1), np.float64)

    def probability(self, category: str) -> Values:
        """Return the probability that each row was given of being of a category (n,); 0 where none was given."""
        if category not in self.classes:
            return np.zeros(len(self.labels))
        return np.nan_to_num(self.probabilities[:, self.classes.index(category)].astype(np.float64))
