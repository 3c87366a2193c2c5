"""The trial of a challenger as Prometheus metrics; docs/metrics.md defines each. Without a trial there are none."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from monitoring.alarms.trial_watch import TrialVerdict
from monitoring.snapshot.alarm_metrics import gauge


def trial_metrics(found: TrialVerdict | None) -> Iterator[Metric]:
    """Yield what is known of the trial that is on."""
    if found is None:
        return
    trial, rows = found.trial, "Rows that the challenger has answered"
    yield gauge("rollout_challenger_version", "The version on trial.", float(trial.version))
    yield gauge("rollout_began_timestamp_seconds", "When the trial began.", trial.began.timestamp())
    yield gauge("rollout_rows", f"{rows}.", found.answered)
    yield gauge("rollout_labelled_rows", f"{rows}, with a label.", found.rows)
    yield gauge("rollout_unanswered_rows", "Labelled rows that it was not asked for.", found.unanswered)
    losses = GaugeMetricFamily("rollout_loss", "Mean loss on the labelled rows.", labels=["role"])
    for role, loss in (("champion", found.champion_loss), ("challenger", found.challenger_loss)):
        if loss is not None:
            losses.add_metric([role], loss)
    if losses.samples:
        yield losses
    scores = GaugeMetricFamily("rollout_score", "log10 of the evidence for a decision.", labels=["decision"])
    scores.add_metric(["promote"], found.score_promote)
    scores.add_metric(["drop"], found.score_drop)
    yield scores
    yield gauge("rollout_threshold", "log10 of the evidence that decides.", found.threshold)
    decided = GaugeMetricFamily("rollout_decided", "1 for what is decided.", labels=["decision", "version"])
    for decision in ("promote", "drop"):
        decided.add_metric([decision, trial.version], float(found.decision == decision))
    yield decided
