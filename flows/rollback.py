"""The flow `rollback`: from a champion that turned bad back to the version that served before it, once.

The order is that of a promotion (`flows.registry.publication`): stage the former version's reference, move the alias,
put the reference into its place. A crash before the alias moves has changed nothing; one after it is completed by the
next run of any flow.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import mlflow
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows.registry.publication import complete, sole_run, stage
from flows.registry.rollback_target import NoRollbackTargetError, RollbackTarget, find_rollback_target
from flows.registry.versions import RegistryError, demote, remove_previous, version_of
from flows.rollback_gate import SIGNIFICANCE_LEVEL, compare_versions
from flows.rollout import trial_on
from flows.run_history import RunRecord, recorded, requesting_alert
from flows.settings import FlowSettings
from flows.training.collection import newest_row
from flows.watched_models import watched_model
from monitoring.contract.config import Config
from monitoring.contract.layout import Layout
from monitoring.contract.names import CHAMPION, PREVIOUS
from monitoring.contract.reference import Reference, read_reference
from monitoring.contract.rhythm_rows import read_rhythm_rows
from monitoring.contract.times import microseconds

_BY_HAND = "`make rollback` asks for neither alert nor labels"


@dataclass(frozen=True)
class RollbackRun:
    """A run's champion with the reference in place, the alert that requested it, and its record."""

    config: Config
    layout: Layout
    champion: str
    present: Reference
    alert: dict[str, Any] | None
    record: RunRecord

    @property
    def because(self) -> str:
        """Say who requested the rollback."""
        requester = requesting_alert(self.alert)
        return f"the alert {requester.name} asked for it" if requester else "a person asked for it"


@flow(name="rollback", description="Go back to the version that served before the champion, and to its reference.")
def rollback(alert: dict[str, Any] | None = None, model: str | None = None) -> State[None]:
    """Go back to the version that served before the champion, and to its reference; the champion itself is not needed.

    `model` names one of many models (DRIFTLOOP_CONFIG is a folder).

    Ends COMPLETED as `RolledBack`, `NothingToRollBackTo` (no version served before, this promotion was rolled back
    already, or the alert is about a version that is not champion any more), or, if an alert requested it,
    `NotRolledBack`: the labels do not show that the former version is better. Without an alert a person requested it,
    and the labels are not consulted.
    """
    settings = FlowSettings.read()
    of = watched_model(settings, model)
    config, layout = of.config, of.layout
    mlflow.set_tracking_uri(settings.mlflow_tracking_uri)
    with sole_run(layout), recorded(layout, "rollback", alert) as record:
        champion = version_of(config.model.name, CHAMPION)
        if champion is None:
            raise RegistryError(f"{config.model.name} has no champion; {config.first_model}")
        record.version = champion
        finished = complete(layout, champion)
        run = RollbackRun(config, layout, champion, read_reference(layout, config.model), alert, record)
        try:
            target = find_rollback_target(layout, config, champion, run.present)
        except NoRollbackTargetError as error:
            return _without_target(run, str(error), finished=finished)
        return _objection(run, target) or _rolled_back(run, target)


def _without_target(run: RollbackRun, reason: str, *, finished: bool) -> State[None]:
    """End the run: there is no target, or a run that was cut off had rolled back already; remove `previous`."""
    name = run.config.model.name
    cut_off = finished and version_of(name, PREVIOUS) == run.champion
    remove_previous(name)
    if cut_off:
        message = f"version {run.champion} is champion again; a run that was cut off had left the reference behind"
        return run.record.conclude("RolledBack", message)
    told = "A rollback takes a version that a promotion has replaced; another model comes by a promotion"
    return run.record.conclude("NothingToRollBackTo", f"{reason}. {told}")


def _objection(run: RollbackRun, target: RollbackTarget) -> State[None] | None:
    """Return the run's end if its alert is out of date or the labels do not support it; None if neither is so."""
    if requesting_alert(run.alert) is None or run.alert is None:
        return None
    if (about := run.alert.get("champion", run.champion)) != run.champion:
        message = f"the alert is about version {about}, and version {run.champion} is champion now. {_BY_HAND}"
        return run.record.conclude("NothingToRollBackTo", message)
    comparison = compare_versions(run.layout, run.config, run.champion, target.former, run.present.through)
    if comparison is None:
        message = f"no row that version {run.champion} answered has a label: /feedback takes them. {_BY_HAND}"
        return run.record.conclude("NotRolledBack", message)
    run.record.score(comparison.champion, comparison.former, comparison.rows)
    get_run_logger().info("%s", comparison.describe())
    if comparison.favours_former:
        return None
    taken = f"A rollback takes a former version that is better, with a p of {SIGNIFICANCE_LEVEL:g} at most"
    return run.record.conclude("NotRolledBack", f"{comparison.describe()}. {taken}. {_BY_HAND}")


def _rolled_back(run: RollbackRun, target: RollbackTarget) -> State[None]:
    version = target.former.version
    stage_reference(run, target)
    go_back(run, version)
    run.record.version = version
    restore_reference(run, version)
    trial_on(run.config, run.layout, version, run.record)  # one is over: it was held against the other champion
    message = f"version {version} is champion again, in place of version {run.champion}: {run.because}"
    return run.record.conclude("RolledBack", message)


@task(cache_policy=NO_CACHE)
def stage_reference(run: RollbackRun, target: RollbackTarget) -> None:
    """Lay the former version's reference ready.

    Its window begins now: what came until then, and what another version answered, is no evidence about this one.
    """
    stage(
        run.layout,
        run.config.model,
        target.former.version,
        target.reference.table,
        origin=target.reference.origin,
        through=max(newest_row(run.layout), microseconds(datetime.now(UTC))),
        performance=target.reference.performance,
        rhythm_rows=read_rhythm_rows(run.layout, run.config.model, target.reference.digest),
    )


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2)
def go_back(run: RollbackRun, version: str) -> None:
    """Move the alias `champion`: from here on the former version serves."""
    demote(run.config.model.name, run.champion, version, run.because)
    get_run_logger().info("Version %s is champion again, in place of version %s", version, run.champion)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2)
def restore_reference(run: RollbackRun, version: str) -> None:
    """Put the staged reference into its place, and remove `previous`; the next run does it if this one cannot."""
    complete(run.layout, version)
    remove_previous(run.config.model.name)
    get_run_logger().info("The reference is that of version %s", version)
