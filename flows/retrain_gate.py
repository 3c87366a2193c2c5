"""What a retraining comes to, once champion and candidate have been compared."""

from dataclasses import dataclass
from typing import Literal

from flows.training.evaluation import Comparison, Standing

Verdict = Literal["Promoted", "Accepted", "NotPromoted"]


@dataclass(frozen=True)
class RetrainGate:
    """The comparison, and what the champion achieves since the change beside what it promised.

    `promised` is the champion's accuracy at its promotion; None if nobody has measured it. `changed` says that an
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

        A test of non-inferiority: its accuracy's one-sided lower bound is not below the promised one less the margin.
        """
        return self.promised is not None and self.standing.at_least >= self.promised - self.margin

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

    def describe_standing(self) -> str:
        """Say how right the champion is since the change, as part of a sentence."""
        held = self.standing
        promised = "of its promotion nothing is known" if self.promised is None else f"{self.promised:.1%} at promotion"
        return (
            f"it is right on {held.accuracy:.1%} of {held.rows} labelled rows that it has not seen (at least "
            f"{held.at_least:.1%}; {promised}, margin {self.margin:.1%})"
        )
