"""The flow `retrain`: from an alert to a new champion and a re-based reference, or to the reason why not.

Or to a re-based reference alone, where labels show that the change does the champion no harm.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pyarrow as pa
from prefect import flow, get_run_logger, runtime, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows.rebasing import Ground, stage_rebased
from flows.registry.publication import complete, sole_run
from flows.registry.tags import TRAINER, describe_names, model_tags
from flows.registry.versions import (
    Champion,
    Registered,
    RegistryError,
    load_champion,
    promote,
    register,
    tag_acceptance,
)
from flows.retrain_gate import RetrainGate
from flows.rollout import Decided, begin_trial, conclude_trial, trial_on
from flows.run_history import RunRecord, recorded, requesting_alert
from flows.run_report import KEY, comparison_report, shortage_report
from flows.settings import FlowSettings
from flows.training.candidate import Candidate, accepted, make_candidate, rebased
from flows.training.collection import Collected, collect, require_reference, shortage
from flows.training.own_trainer import OwnTrainer, trainer_name
from flows.watched_models import watched_model
from monitoring.contract.config import Config
from monitoring.contract.drift_state import DriftState, drift_key, read_drift_state
from monitoring.contract.layout import Layout
from monitoring.contract.names import LEARNED_THROUGH, REFERENCE_DIGEST
from monitoring.contract.onnx.model import OnnxModel
from monitoring.contract.reference import Performance, Reference, read_reference
from monitoring.contract.storage import step
from monitoring.contract.times import Micros
from monitoring.contract.trial import OF_TRIAL

_MOST_OF_AN_ALERT = 4000  # characters of it that a tag carries


@dataclass(frozen=True)
class RetrainRun:
    """A run's config and where it lies, files, the address of links to MLflow, its record, and the alert that asked."""

    config: Config
    layout: Layout
    links: str
    record: RunRecord
    alert: dict[str, Any] | None
    config_path: Path


@dataclass(frozen=True)
class Compared:
    """The rows of a run, the reference that they came after, the drift state, champion, candidate, version and gate."""

    collected: Collected
    reference: Reference
    state: DriftState
    champion: Champion
    candidate: Candidate
    registered: Registered
    gate: RetrainGate


@flow(name="retrain", description="Train a candidate on what came since the change; promote it if it is no worse.")
def retrain(alert: dict[str, Any] | None = None, model: str | None = None) -> State[None]:
    """Train a candidate on the labelled rows since the change, and promote it if the gate passes.

    `model` names one of many models (DRIFTLOOP_CONFIG is a folder).

    Ends COMPLETED as `Promoted`, `Accepted` (the data changed, the champion is as right as at its promotion and stays,
    and the reference is re-based), `NotPromoted` (the gate refused), `TooFewLabels` (no candidate) or `Rebased` (a
    former run was cut off before its reference was in place; now it is). FAILED is an error to look at. Each outcome
    but `Rebased` leaves the Markdown artifact `retrain-comparison`.

    With `retrain.rollout` a candidate that passes the gate is put on trial (`OnTrial`). While one is, a run trains
    none: it promotes the challenger (`Promoted`), drops it (`Dropped`), or leaves it on trial (`OnTrial`). A run that
    an alert of a trial asked for, and that finds none, ends as `NothingOnTrial`.
    """
    settings = FlowSettings.read()
    of = watched_model(settings, model)
    config, layout = of.config, of.layout
    mlflow.set_tracking_uri(settings.mlflow_tracking_uri)
    with sole_run(layout), recorded(layout, "retrain", alert) as record:
        run = RetrainRun(config, layout, settings.mlflow_links, record, alert, of.path)
        champion = _champion(config)
        record.version = champion.version
        made_good = complete(layout, champion.version)
        trial = trial_on(config, layout, champion.version, record)
        if made_good:
            return record.conclude("Rebased", _made_good(champion.version))
        reference = read_reference(layout, config.model)
        state = read_drift_state(layout, drift_key(reference, config.model)) or DriftState()
        if trial is not None:
            return _conclude_trial(run, Decided(config, layout, trial, reference, state))
        if (asking := requesting_alert(alert)) is not None and asking.name == OF_TRIAL:
            return record.conclude("NothingOnTrial", "the alert is about a trial, and none is on any more")
        champion.require_answers(reference.table, config.model)
        cycle = state.cycle_seconds or config.cycle_seconds
        collected = collect_rows(config, layout, champion.unseen_after(reference), state, cycle)
        step("rows collected")
        if reason := shortage(collected, config):
            create_markdown_artifact(shortage_report(reason, collected), key=KEY, description="too few labels")
            return record.conclude("TooFewLabels", reason)
        require_reference(collected, config)
        candidate = evaluate_candidate(run, collected, reference, champion.onnx, cycle)
        step("candidate evaluated")
        gate = RetrainGate(
            candidate.comparison,
            candidate.standing,
            reference.performance.promised if reference.performance else None,
            config.retrain.margin,
            changed=state.alarm is not None or alert is not None or collected.changed,
        )
        registered = register_candidate(run, collected, candidate, reference, gate)
        record.compare(candidate.comparison, champion.version, registered.version)
        compared = Compared(collected, reference, state, champion, candidate, registered, gate)
        _leave_comparison(run, compared)
        return _conclude(run, compared)


def _conclude_trial(run: RetrainRun, of: Decided) -> State[None]:
    outcome, message = conclude_trial(of)
    if outcome == "Promoted":
        run.record.version = of.trial.version
    return run.record.conclude(outcome, message)


def _made_good(version: str) -> str:
    return (
        f"the reference of version {version} is now in place, which a run that was cut off had left behind. Nothing "
        "was trained: an alert that still fires asks for that by itself"
    )


def _champion(config: Config) -> Champion:
    champion = load_champion(config.model)
    if champion is None:
        raise RegistryError(f"{config.model.name} has no champion; {config.first_model}")
    return champion


@task(cache_policy=NO_CACHE)
def collect_rows(
    config: Config, layout: Layout, after: Micros | None, state: DriftState, cycle: float | None
) -> Collected:
    """Collect the labelled rows since the drift alarm's onset, or since the last change if there is no alarm."""
    collected = collect(layout, config, after, state.alarm.onset if state.alarm else None, cycle)
    get_run_logger().info("%s", collected.describe())
    for file in collected.unreadable:
        get_run_logger().warning("Left out: %s", file)
    return collected


@task(cache_policy=NO_CACHE)
def evaluate_candidate(
    run: RetrainRun, collected: Collected, reference: Reference, champion: OnnxModel, cycle: float | None
) -> Candidate:
    """Train a candidate and compare it with the champion on the same held-out rows."""
    config, seed, log = run.config, int(str(runtime.flow_run.id)[:8], 16), get_run_logger()
    own = trainer_name(config.retrain) is not None
    trainer = OwnTrainer(config, run.config_path, partial(log.info, "%s")) if own else None
    make = partial(make_candidate, older=collected.older, cycle=cycle, trainer=trainer)
    candidate = make(collected.table, reference.table, champion, config, seed)
    comparison = candidate.comparison
    name, told = candidate.trained.name, comparison.describe()
    log.info("On %s held-out rows the candidate, %s, has %s", comparison.rows, name, told)
    return candidate


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2)
def register_candidate(
    run: RetrainRun, collected: Collected, candidate: Candidate, reference: Reference, gate: RetrainGate
) -> Registered:
    """Register the candidate with its lineage, whether it passed the gate or not."""
    config, own = run.config, trainer_name(run.config.retrain)
    return register(
        candidate.trained.exported,
        config.model,
        parameters=candidate.parameters(len(collected.table), config.retrain.holdout),
        metrics=candidate.metrics(),
        tags={
            **model_tags(config, candidate.classes),
            "gate": "passed" if gate.verdict == "Promoted" else "refused",
            "origin": "retrain",
            **({} if own is None else {TRAINER: own}),
            "flow_run_id": str(runtime.flow_run.id),
            "alert": json.dumps(run.alert)[:_MOST_OF_AN_ALERT],
            "log_parts": describe_names(list(collected.parts)),
            REFERENCE_DIGEST: reference.digest,
            **({} if collected.through is None else {LEARNED_THROUGH: str(collected.through)}),
        },
    )


def _leave_comparison(run: RetrainRun, compared: Compared) -> None:
    name, champion, registered = run.config.model.name, compared.champion, compared.registered
    report = comparison_report(
        compared.gate,
        compared.collected,
        name=name,
        champion=champion.version,
        candidate=registered.version,
        made_by=compared.candidate.trained.name,
        links=registered.links(run.links, name),
        is_tried=run.config.retrain.rollout != "direct",
    )
    description = f"champion {champion.version}, candidate {registered.version}"
    create_markdown_artifact(report, key=KEY, description=description)


def _conclude(run: RetrainRun, compared: Compared) -> State[None]:
    """Publish what the gate decided; return the state that the run ends with."""
    champion, candidate = compared.champion.version, compared.registered.version
    scores, verdict = compared.gate.comparison.describe(), compared.gate.verdict
    if verdict == "NotPromoted":
        told = f"version {candidate} has {scores} of version {champion}, which stays champion"
        message = f"{told}. {compared.gate.wanting}"
        return run.record.conclude(verdict, message)
    if verdict == "Accepted":
        held = compared.gate.describe_standing()
        message = (
            f"version {champion} stays champion and the reference is re-based: {held}; version {candidate}: {scores}. "
            f"{compared.gate.wanting}"
        )
        stage_accepted_reference(run, compared)
        accept_champion(run.config.model.name, champion, held)
        rebase_reference(run.layout, champion)
        return run.record.conclude(verdict, message)
    if run.config.retrain.rollout != "direct":
        trial = begin_trial(run.config, run.layout, candidate, champion, compared.candidate)
        message = f"version {candidate} is on trial in the {trial.mode}: it has {scores} of version {champion}"
        return run.record.conclude("OnTrial", message)
    stage_reference(run, compared)
    promote_candidate(run.config.model.name, candidate, champion)
    run.record.version = candidate
    rebase_reference(run.layout, candidate)
    message = f"version {candidate} is champion: {scores} of version {champion}"
    return run.record.conclude(verdict, message)


@task(cache_policy=NO_CACHE)
def stage_accepted_reference(run: RetrainRun, compared: Compared) -> None:
    """Lay the champion's new reference ready: the collected rows, as it predicts them.

    What came while the run was at work is evidence about it: its window begins after the rows that were looked at.
    """
    promised, champion = compared.gate.promised, compared.champion
    assert promised is not None
    predict = partial(accepted, champion=champion.onnx, model=run.config.model, promised=promised)
    _stage_rebased(run, compared, champion.version, predict)


def _stage_rebased(
    run: RetrainRun,
    compared: Compared,
    version: str,
    predict: Callable[[pa.Table], tuple[pa.Table, Performance]],
) -> None:
    ground = Ground(run.config, run.layout, compared.collected, compared.reference, compared.state.since)
    stage_rebased(ground, version, predict, replaces=version != compared.champion.version)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2)
def accept_champion(name: str, version: str, because: str) -> None:
    """Tag the champion with why it stays."""
    tag_acceptance(name, version, because)
    get_run_logger().info("Version %s of %s stays champion: %s", version, name, because)


@task(cache_policy=NO_CACHE)
def stage_reference(run: RetrainRun, compared: Compared) -> None:
    """Lay the candidate's new reference ready: the labelled rows since the change."""
    predict = partial(rebased, candidate=compared.candidate, model=run.config.model)
    _stage_rebased(run, compared, compared.registered.version, predict)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2)
def promote_candidate(name: str, version: str, former: str) -> None:
    """Move the alias `champion`: from here on the candidate serves."""
    promote(name, version, former)
    get_run_logger().info("Version %s of %s is champion", version, name)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2)
def rebase_reference(layout: Layout, version: str) -> None:
    """Put the staged reference into its place; the next run does it if this one cannot."""
    complete(layout, version)
    get_run_logger().info("The reference is re-based on the rows since the change")
