"""Which class a row of probabilities is answered with: the one place where that is decided."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitoring.contract.config import Model

_BINARY = 2


def decide(
    probabilities: NDArray[np.float32] | NDArray[np.float64], classes: Sequence[str], model: Model
) -> NDArray[np.intp]:
    """Return the place among the classes of each row's answer (n,): the most probable class.

    With a threshold it is the positive one where its probability is at least that, and else the other one. What has
    learnt of one class alone answers it. A row with NaN has some place.
    """
    if model.threshold is None or model.positive is None or len(classes) < _BINARY:
        return np.asarray(probabilities.argmax(axis=1))
    positive = classes.index(model.positive)
    return np.where(probabilities[:, positive] >= model.threshold, positive, 1 - positive)
