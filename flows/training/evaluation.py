"""Champion and candidate on the same held-out rows, and the gate."""

from dataclasses import dataclass

import numpy as np

from flows.training.answers import Answers
from flows.training.metrics import LOSSES, RELATIVE, TITLES, gain, shown
from flows.training.paired_tests import TOLERANCE, bootstrap, mcnemar, mcnemar_better
from flows.training.sample import Places, Sample
from flows.training.scores import Scores
from flows.training.tasks import TASKS
from monitoring.contract.config import Gate, RetrainMetric
from monitoring.contract.onnx.model import OnnxModel
from monitoring.contract.reference import Performance

POINT = Gate()


@dataclass(frozen=True)
class Comparison:
    """Champion and candidate on the same rows; `categories` are those that occur in them.

    `p_value` is that of no gain at all, one-sided, `gate_p_value` that of less than `minimum_gain`, by the gate's test.
    `mcnemar_p_value` is that of a classification's accuracies, None for a regression. `expected` is what the
    candidate's answers let expect of it.
    """

    champion: Scores
    candidate: Scores
    categories: tuple[str, ...]
    rows: int
    mcnemar_p_value: float | None
    minimum_gain: float
    metric: RetrainMetric = "accuracy"
    gate: Gate = POINT
    p_value: float = 1.0
    gate_p_value: float = 1.0
    expected: Performance | None = None

    @property
    def gain(self) -> float:
        """Return what the candidate adds to the metric; see `flows.training.metrics.gain` for losses."""
        sign = -1.0 if self.metric in LOSSES else 1.0
        champion, candidate = (np.array([sign * who.values[self.metric]]) for who in (self.champion, self.candidate))
        return float(gain(self.metric, champion, candidate)[0])

    @property
    def better(self) -> bool:
        """Say whether the candidate's gain is more than chance."""
        return self.gain > 0 and self.p_value <= self.gate.level

    @property
    def passed(self) -> bool:
        """Say whether the gate lets the candidate pass.

        By the gate `point` a tie at `minimum_gain` passes: the candidate has learned from the newer rows, and
        promotion re-bases the reference.
        """
        reached = self.gain >= self.minimum_gain - TOLERANCE
        return reached and (self.gate.test == "point" or self.gate_p_value <= self.gate.level)

    def describe(self) -> str:
        """Return both models' values of the metric, the candidate's first."""
        old, new = (shown(self.metric, who.values[self.metric]) for who in (self.champion, self.candidate))
        return f"{TITLES[self.metric]} {new} against {old}"

    def describe_gain(self) -> str:
        """Return the gain, and what is asked for: of the metric, or where that has a unit, as shares of it."""
        form = "+.1%" if self.metric in RELATIVE else "+.3f"
        return f"{self.gain:{form}}; {self.minimum_gain:{form}} or more was asked for"

    def describe_lack(self) -> str:
        """Return what a candidate that is not promoted would have had to achieve, and which keys ask for it."""
        if self.gain < self.minimum_gain - TOLERANCE:
            form = "+.1%" if self.metric in RELATIVE else "+.3f"
            return f"a gain of {self.minimum_gain:{form}} or more (retrain.minimum_gain), and it is {self.gain:{form}}"
        p_value = self.p_value if self.passed else self.gate_p_value
        return (
            f"a gain that is more than chance (p of {self.gate.level:g} at most, retrain.gate), and p is {p_value:.2g}"
        )


def ask(model: OnnxModel, rows: Sample) -> Answers:
    """Return a model's answers on labelled rows."""
    predicted, probabilities = model.predict(rows.features)
    return Answers(rows.labels, predicted, probabilities, model.classes)


def compare(
    champion: OnnxModel,
    candidate: OnnxModel,
    held: Sample,
    minimum_gain: float,
    *,
    metric: RetrainMetric = "accuracy",
    gate: Gate = POINT,
    blocks: Places | None = None,
) -> Comparison:
    """Score both models on the same rows and test whether the candidate is better.

    The test is McNemar's exact one, one-sided, for accuracies of rows that do not depend on each other, and for the
    gate `mcnemar`. Else it is a paired bootstrap of rows, or of the `blocks` of time (n,) that they lie in.
    """
    first, second = ask(champion, held), ask(candidate, held)
    score, categories = TASKS[held.task].score, held.task == "classification"
    if gate.test == "mcnemar" or (gate.test == "point" and metric == "accuracy" and blocks is None):
        p_value = gate_p_value = mcnemar_better(first.correct, second.correct)
    else:
        p_value, gate_p_value = bootstrap(metric, first, second, (0.0, minimum_gain), blocks)
    old, new = score(first), score(second)
    return Comparison(
        champion=old,
        candidate=new,
        categories=tuple(old.recall),
        rows=len(held.labels),
        mcnemar_p_value=mcnemar(first.correct, second.correct) if categories else None,
        minimum_gain=minimum_gain,
        metric=metric,
        gate=gate,
        p_value=p_value,
        gate_p_value=gate_p_value,
        expected=TASKS[held.task].performance(second),
    )
