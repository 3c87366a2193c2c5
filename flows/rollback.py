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
from flows.registry.versions import RegistryError, demote, forget_previous, version_of
from flows.rollback_gate import compare_versions
from flows.run_history import RunRecord, recorded, triggering_alert
from flows.settings import FlowSettings
from flows.training.collection import newest_row
from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.layout import Layout
from monitoring.contract.names import CHAMPION, PREVIOUS
from monitoring.contract.reference import Reference, read_reference
from monitoring.contract.times import microseconds


@dataclass(frozen=True)
class Case:
    """What a run judges: the champion with the reference in place, who asked, and what the run leaves behind."""

    config: Config
    layout: Layout
    champion: str
    present: Reference
    alert: dict[str, Any] | None
    record: RunRecord

    @property
    def because(self) -> str:
        """Say who asked."""
        alert = triggering_alert(self.alert)
        return f"the alert {alert.name} asked for it" if alert else "a person asked for it"


@flow(name="rollback", description="Go back to the version that served before the champion, and to its reference.")
def rollback(alert: dict[str, Any] | None = None) -> State[None]:
    """Go back to the version that served before the champion, and to its reference; the champion itself is not needed.

    Ends COMPLETED as `RolledBack`, `NothingToRollBackTo` (no version served before, the one that did was rolled back to
    already, or the alert is about a version that is not champion any more), or, if an alert asked for it,
    `NotRolledBack`: labels do not say that the former version is better. Without an alert a person has asked, and is
    not contradicted.
    """
    settings = FlowSettings.read()
    config = load_config(settings.driftloop_config)
    layout = Layout(settings.data_dir, settings.parts_uri)
    mlflow.set_tracking_uri(settings.mlflow_tracking_uri)
    with sole_run(layout), recorded(layout, "rollback", alert) as record:
        champion = version_of(config.model.name, CHAMPION)
        if champion is None:
            raise RegistryError(f"{config.model.name} has no champion; the flow `bootstrap` makes one")
        record.version = champion
        finished = complete(layout, champion)
        case = Case(config, layout, champion, read_reference(layout, config.model), alert, record)
        try:
            target = find_rollback_target(layout, config, champion, case.present)
        except NoRollbackTargetError as error:
            return _without_target(case, str(error), finished=finished)
        return _objection(case, target) or _rolled_back(case, target)


def _without_target(case: Case, reason: str, *, finished: bool) -> State[None]:
    """End a run that has no target, or that finishes one which was cut off; the alias `previous` goes either way."""
    name = case.config.model.name
    cut_off = finished and version_of(name, PREVIOUS) == case.champion
    forget_previous(name)
    if cut_off:
        message = f"version {case.champion} is champion again; a run that was cut off had left the reference behind"
        return case.record.conclude("RolledBack", message)
    return case.record.conclude("NothingToRollBackTo", reason)


def _objection(case: Case, target: RollbackTarget) -> State[None] | None:
    """Return the run's end if its alert is out of date or labels do not bear it out; None if nothing objects."""
    if triggering_alert(case.alert) is None or case.alert is None:
        return None
    if (about := case.alert.get("champion", case.champion)) != case.champion:
        message = f"the alert is about version {about}, and version {case.champion} is champion now"
        return case.record.conclude("NothingToRollBackTo", message)
    compared = compare_versions(case.layout, case.config, case.champion, target.former, case.present.through)
    if compared is None:
        return case.record.conclude("NotRolledBack", f"no row that version {case.champion} answered has a label")
    case.record.score(compared.champion, compared.former, compared.rows)
    get_run_logger().info("%s", compared.describe())
    return None if compared.former_is_better else case.record.conclude("NotRolledBack", compared.describe())


def _rolled_back(case: Case, target: RollbackTarget) -> State[None]:
    version = target.former.version
    stage_reference(case, target)
    go_back(case, version)
    case.record.version = version
    restore_reference(case, version)
    message = f"version {version} is champion again, in place of version {case.champion}: {case.because}"
    return case.record.conclude("RolledBack", message)


@task(cache_policy=NO_CACHE)
def stage_reference(case: Case, target: RollbackTarget) -> None:
    """Lay the former version's reference ready.

    Its window begins now: what came until then, and what another version answered, is no evidence about this one.
    """
    stage(
        case.layout,
        case.config.model,
        target.former.version,
        target.reference.table,
        origin=target.reference.origin,
        through=max(newest_row(case.layout), microseconds(datetime.now(UTC))),
        performance=target.reference.performance,
    )


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2)
def go_back(case: Case, version: str) -> None:
    """Move the alias `champion`: from here on the former version serves."""
    demote(case.config.model.name, case.champion, version, case.because)
    get_run_logger().info("Version %s is champion again, in place of version %s", version, case.champion)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2)
def restore_reference(case: Case, version: str) -> None:
    """Put the staged reference into place and remove the alias `previous`; the next run does it if this one cannot."""
    complete(case.layout, version)
    forget_previous(case.config.model.name)
    get_run_logger().info("The reference is that of version %s", version)
