"""What a model's answers are worth: its scores on held-out rows, and its standing since the change."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from flows.training.sample import Places
from monitoring.contract.config import RetrainMetric


class Scores(Protocol):
    """One model on the held-out rows."""

    @property
    def values(self) -> Mapping[RetrainMetric, float]:
        """Return the task's metrics."""

    @property
    def recall(self) -> Mapping[str, float]:
        """Return the recall per category that occurs; none for numbers."""


class Standing(Protocol):
    """How good the champion is on labelled rows that it has not seen."""

    @property
    def rows(self) -> int:
        """Return how many they are."""

    def holds(self, promised: float, margin: float) -> bool:
        """Say whether labels show that it is as good as was promised, less a margin: a test of non-inferiority."""

    def describe(self, promised: float | None, margin: float) -> str:
        """Say how good it is, as part of a sentence."""

    def metrics(self) -> dict[str, float]:
        """Return it as metrics by name."""


def design_effect(values: npt.NDArray[np.float64], blocks: Places | None) -> float:
    """Return by how much the variance of a mean over blocks exceeds that of independent rows; 1 at least (Kish 1965).

    The variance is that of a ratio of sums over the blocks.
    """
    variance = float(np.var(values))
    if blocks is None or not variance or (number := int(blocks.max()) + 1) < 2:  # noqa: PLR2004 - a variance needs two
        return 1.0
    deviations = np.bincount(blocks, values - np.mean(values), number)
    between = number / (number - 1) * float(np.sum(deviations**2)) / len(values)
    return max(1.0, between / variance)
