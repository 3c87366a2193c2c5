"""What a retraining comes to, once champion and candidate have been compared."""

from dataclasses import dataclass
from typing import Literal

from flows.training.evaluation import Comparison
from flows.training.scores import Standing

Verdict = Literal["Promoted", "Accepted", "NotPromoted"]


@dataclass(frozen=True)
class RetrainGate:
    """The comparison, and what the champion achieves since the change beside what it promised.

    `promised` is the champion's accuracy at its promotion, or a regression's mean absolute error; None if nobody has
    measured it. `margin` is what it may be worse: a share of the rows, or of that error. `changed` says that an
    alarm, an alert or a changepoint speaks of a change: without one there is nothing to accept.
    """

    comparison: Comparison
    standing: Standing
    promised: float | None
    margin: float
    changed: bool

    @property
    def as_right(self) -> bool:
        """Say whether labels show that the champion is as right as at its promotion, less the margin.

        A test of non-inferiority: its one-sided bound is not worse than what was promised, less the margin.
        """
        return self.promised is not None and self.standing.holds(self.promised, self.margin)

    @property
    def verdict(self) -> Verdict:
        """Return what becomes of the candidate and of the reference.

        A candidate that passes the gate is promoted if its gain is more than chance, or if the champion is not known to
        be as right as ever. Else, after a change, a champion that is as right as ever stays and gets the reference:
        there is no harm to mend, and a new version would be a risk without a gain.
        """
        accepts = self.changed and self.as_right
        if self.comparison.passed and (self.comparison.better or not accepts):
            return "Promoted"
        return "Accepted" if accepts else "NotPromoted"

    @property
    def wanting(self) -> str:
        """Say what would have to be different for the candidate to be promoted, and else for the change to be accepted.

        Two sentences, or one; empty for a candidate that is promoted.
        """
        verdict = self.verdict
        if verdict == "Promoted":
            return ""
        promotion = f"A promotion takes {self.comparison.describe_lack()}"
        if verdict == "Accepted":
            return promotion
        if not self.changed:
            return f"{promotion}. Nothing has changed, so there is nothing to accept"
        if self.promised is None:
            return (
                f"{promotion}. An acceptance takes a champion that was measured at its promotion, and this one was not"
            )
        held = self.describe_standing()
        return (
            f"{promotion}. An acceptance takes a champion that is as right as at its promotion (retrain.margin): {held}"
        )

    def describe_standing(self) -> str:
        """Say how right the champion is since the change, as part of a sentence."""
        return self.standing.describe(self.promised, self.margin)
