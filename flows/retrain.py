"""The flow `retrain`: from an alert to a new champion and a re-based reference, or to the reason why not."""

import json
from dataclasses import dataclass
from typing import Any

import mlflow
from prefect import flow, get_run_logger, runtime, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows.registry.publication import complete, sole_run, stage
from flows.registry.tags import describe_names, model_tags
from flows.registry.versions import Champion, Registered, RegistryError, load_champion, promote, register
from flows.run_history import RunRecord, recorded
from flows.run_report import KEY, comparison_report, shortage_report
from flows.settings import FlowSettings
from flows.training.candidate import Candidate, make_candidate, rebased
from flows.training.collection import Collected, collect, newest_row, shortage
from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.layout import Layout
from monitoring.contract.names import REFERENCE_DIGEST
from monitoring.contract.onnx.model import OnnxModel
from monitoring.contract.reference import Reference, read_reference
from monitoring.contract.storage import step
from monitoring.contract.times import BEFORE_ALL

_MOST_OF_AN_ALERT = 4000  # characters of it that a tag carries


@dataclass(frozen=True)
class RetrainRun:
    """A run's config, files, the address that links to MLflow start with, and its record."""

    config: Config
    layout: Layout
    links: str
    record: RunRecord


@flow(name="retrain", description="Train a candidate on what came since the change; promote it if it is no worse.")
def retrain(alert: dict[str, Any] | None = None) -> State[None]:
    """Train a candidate on the labelled rows since the last change, and promote it if the gate passes.

    Ends COMPLETED as `Promoted`, `NotPromoted` (the gate refused), `TooFewLabels` (no candidate) or `Rebased` (a former
    run was cut off after its promotion; its reference is now in place). FAILED is an error to look at. Each outcome
    but `Rebased` leaves the Markdown artifact `retrain-comparison`.
    """
    settings = FlowSettings.read()
    config = load_config(settings.driftloop_config)
    layout = Layout(settings.data_dir, settings.parts_uri)
    mlflow.set_tracking_uri(settings.mlflow_tracking_uri)
    with sole_run(layout), recorded(layout, "retrain", alert) as record:
        run = RetrainRun(config, layout, settings.mlflow_links, record)
        champion = _champion(config)
        record.version = champion.version
        if complete(layout, champion.version):
            return record.conclude("Rebased", f"the reference of version {champion.version} is now in place")
        reference = read_reference(layout, config.model)
        champion.require_answers(reference.table, config.model)
        collected = collect_rows(config, layout, reference)
        step("rows collected")
        if reason := shortage(collected, config):
            create_markdown_artifact(shortage_report(reason, collected), key=KEY, description="too few labels")
            return record.conclude("TooFewLabels", reason)
        candidate = evaluate_candidate(config, collected, reference, champion.onnx)
        step("candidate evaluated")
        registered = register_candidate(config, collected, candidate, reference, alert)
        record.compare(candidate.comparison, champion.version, registered.version)
        _leave_comparison(run, collected, candidate, champion, registered)
        return _conclude(run, collected, candidate, champion, registered)


def _champion(config: Config) -> Champion:
    champion = load_champion(config.model)
    if champion is None:
        raise RegistryError(f"{config.model.name} has no champion; the flow `bootstrap` makes one")
    return champion


@task(cache_policy=NO_CACHE)
def collect_rows(config: Config, layout: Layout, reference: Reference) -> Collected:
    """Collect the labelled rows since the last change of the distribution."""
    collected = collect(layout, config, reference.through)
    get_run_logger().info("%s", collected.describe())
    for file in collected.unreadable:
        get_run_logger().warning("Left out: %s", file)
    return collected


@task(cache_policy=NO_CACHE)
def evaluate_candidate(config: Config, collected: Collected, reference: Reference, champion: OnnxModel) -> Candidate:
    """Train a candidate and compare it with the champion on the same held-out rows."""
    seed = int(str(runtime.flow_run.id)[:8], 16)
    candidate = make_candidate(collected.table, reference.table, champion, config, seed)
    comparison = candidate.comparison
    get_run_logger().info(
        "Accuracy on %s held-out rows: champion %.3f, candidate %.3f",
        comparison.rows,
        comparison.champion.accuracy,
        comparison.candidate.accuracy,
    )
    return candidate


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2)
def register_candidate(
    config: Config, collected: Collected, candidate: Candidate, reference: Reference, alert: dict[str, Any] | None
) -> Registered:
    """Register the candidate with its lineage, whether it passed the gate or not."""
    return register(
        candidate.exported,
        config.model,
        parameters=candidate.parameters(len(collected.table), config.retrain.holdout),
        metrics=candidate.metrics(),
        tags={
            **model_tags(config, candidate.pipeline.classes_),
            "gate": "passed" if candidate.comparison.passed else "refused",
            "origin": "retrain",
            "flow_run_id": str(runtime.flow_run.id),
            "alert": json.dumps(alert)[:_MOST_OF_AN_ALERT],
            "log_parts": describe_names(list(collected.parts)),
            REFERENCE_DIGEST: reference.digest,
        },
    )


def _leave_comparison(
    run: RetrainRun, collected: Collected, candidate: Candidate, champion: Champion, registered: Registered
) -> None:
    name = run.config.model.name
    report = comparison_report(
        candidate.comparison,
        collected,
        name=name,
        champion=champion.version,
        candidate=registered.version,
        links=registered.links(run.links, name),
    )
    description = f"champion {champion.version}, candidate {registered.version}"
    create_markdown_artifact(report, key=KEY, description=description)


def _conclude(
    run: RetrainRun, collected: Collected, candidate: Candidate, champion: Champion, registered: Registered
) -> State[None]:
    """Publish a candidate that passed the gate; return the state that the run ends with."""
    comparison = candidate.comparison
    accuracies = f"accuracy {comparison.candidate.accuracy:.3f} against {comparison.champion.accuracy:.3f}"
    if not comparison.passed:
        message = f"version {registered.version} has {accuracies} of version {champion.version}, which stays champion"
        return run.record.conclude("NotPromoted", message)
    stage_reference(run, collected, candidate, registered.version)
    promote_candidate(run.config.model.name, registered.version, champion.version)
    run.record.version = registered.version
    rebase_reference(run.layout, registered.version)
    message = f"version {registered.version} is champion: {accuracies} of version {champion.version}"
    return run.record.conclude("Promoted", message)


@task(cache_policy=NO_CACHE)
def stage_reference(run: RetrainRun, collected: Collected, candidate: Candidate, version: str) -> None:
    """Lay the new reference ready: the labelled rows since the last changepoint."""
    table, performance = rebased(collected.table, candidate, run.config.model)
    # Rows that the former champion answered meanwhile say nothing about the new one: the window starts after them.
    through = max(collected.through or BEFORE_ALL, newest_row(run.layout))
    stage(run.layout, run.config.model, version, table, origin="rebased", through=through, performance=performance)


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
