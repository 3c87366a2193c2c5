"""The trial of a candidate that passed the gate (`retrain.rollout`): it begins, goes on, and ends.

A trial is on while the alias `challenger` and the file `_rollout/trial.json` name the same version, and the champion is
the one that it is held against. The file is written first and removed last: what a crash leaves, a moved alias or a
changed config is told from a trial by whichever flow runs next, which ends it. A promotion goes the way of every other
one, and makes the reference of the rows that came during the trial: the challenger has learned from none of them.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from flows.rebasing import Ground, stage_rebased
from flows.registry.publication import complete
from flows.registry.versions import (
    UnfitVersionError,
    UnusableVersionError,
    challenge,
    load_version,
    promote,
    version_of,
    withdraw,
)
from flows.run_history import RunRecord
from flows.training.candidate import Candidate, accepted
from flows.training.collection import collect, require_reference, shortage
from monitoring.contract.config import Config
from monitoring.contract.drift_state import DriftState
from monitoring.contract.layout import Layout
from monitoring.contract.names import CHALLENGER
from monitoring.contract.reference import Reference
from monitoring.contract.storage import step
from monitoring.contract.trial import Trial, read_ruling, read_trial, remove_trial, write_trial

Outcome = tuple[str, str]  # a run's end, in one word and in a sentence


def begin_trial(config: Config, layout: Layout, version: str, champion: str, candidate: Candidate) -> Trial:
    """Put a candidate on trial: from here on it is asked beside the champion."""
    assert config.retrain.rollout != "direct"
    expected = candidate.comparison.expected
    trial = Trial(
        version=version,
        champion=champion,
        mode=config.retrain.rollout,
        began=datetime.now(UTC),
        bound=(expected.mae_bound if expected else None) or None,
    )
    write_trial(layout, trial)
    step("trial written")
    challenge(config.model.name, version)
    return trial


def trial_on(config: Config, layout: Layout, champion: str, record: RunRecord) -> Trial | None:
    """Return the trial that is on; what is none any more is ended, and told in the history."""
    trial, aliased = read_trial(layout), version_of(config.model.name, CHALLENGER)
    if trial is None and aliased is None:
        return None
    why = _over(trial, aliased, config, champion)
    if why is None:
        return trial
    end_trial(config, layout, why)
    version = trial.version if trial is not None else aliased
    if version != champion:
        record.keep("Dropped", f"version {version} is on trial no longer: {why}")
    return None


def _over(trial: Trial | None, aliased: str | None, config: Config, champion: str) -> str | None:
    """Say why a trial is over before it was decided; None if it is not."""
    if trial is None:
        return f"no file tells of a trial, and the alias {CHALLENGER} was left"
    if champion == trial.version:
        return "it is champion"
    if champion != trial.champion:
        return f"it was held against version {trial.champion}, and version {champion} is champion now"
    if aliased != trial.version:
        return f"the alias {CHALLENGER} is not at it: a hand has moved it, or the run was cut off that began the trial"
    if trial.mode != config.retrain.rollout:
        return f"retrain.rollout is {config.retrain.rollout} now"
    return None


def end_trial(config: Config, layout: Layout, because: str) -> None:
    """End the trial, if one is on; the version is tagged with the reason, unless it is champion."""
    trial, name = read_trial(layout), config.model.name
    version = trial.version if trial is not None else version_of(name, CHALLENGER)
    if version is not None:
        withdraw(name, version, because)
        step("challenger withdrawn")
    remove_trial(layout)


@dataclass(frozen=True)
class Decided:
    """A trial that is to be concluded: its files, the reference in place and the drift state."""

    config: Config
    layout: Layout
    trial: Trial
    reference: Reference
    state: DriftState

    @property
    def overdue(self) -> bool:
        """Say whether it has lasted as long as a trial may."""
        return datetime.now(UTC) - self.trial.began >= self.config.retrain.trial.time


def conclude_trial(of: Decided) -> Outcome:
    """Promote or drop a challenger as the monitor has ruled; while it has not, the trial goes on (`OnTrial`)."""
    trial = of.trial
    ruling = read_ruling(of.layout, trial)
    if ruling is None:
        since, until = (f"{t:%Y-%m-%d %H:%M} UTC" for t in (trial.began, trial.began + of.config.retrain.trial.time))
        told = f"version {trial.version} is on trial in the {trial.mode} since {since}, and labels have not decided yet"
        return "OnTrial", f"{told}. A retraining comes after that; {until} ends it at the latest"
    if ruling.decision == "drop":
        return _dropped(of, ruling.because)
    try:
        return _promoted(of, ruling.because)
    except UnfitVersionError as error:
        return _dropped(of, str(error))
    except UnusableVersionError as error:
        if not of.overdue:
            raise  # MLflow may be at fault
        return _dropped(of, str(error))


def _dropped(of: Decided, because: str) -> Outcome:
    end_trial(of.config, of.layout, because)
    stays = f"version {of.trial.champion} stays champion"
    return "Dropped", f"{stays}, and version {of.trial.version} is dropped after its trial: {because}"


def _promoted(of: Decided, because: str) -> Outcome:
    config, layout, version = of.config, of.layout, of.trial.version
    challenger = load_version(config.model, version)
    onset = of.state.alarm.onset if of.state.alarm else None
    cycle = of.state.cycle_seconds or config.cycle_seconds
    collected = collect(layout, config, challenger.unseen_after(of.reference), onset, cycle)
    if reason := shortage(collected, config):
        if of.overdue:
            return _dropped(of, f"{because}; but no reference can be made: {reason}")
        return "TooFewLabels", f"version {version} has won its trial, and waits for its reference: {reason}"
    require_reference(collected, config)
    predict = partial(accepted, champion=challenger.onnx, model=config.model, promised=None)
    stage_rebased(Ground(config, layout, collected, of.reference, of.state.since), version, predict, replaces=True)
    promote(config.model.name, version, of.trial.champion)
    end_trial(config, layout, f"promoted: {because}")
    complete(layout, version)
    return "Promoted", f"version {version} is champion after its trial: {because}"
