"""The target of a rollback: a version, and the reference that belongs to it.

A promotion moves the alias and the reference together, and leaves the alias `previous` and the replaced reference: they
are the target. A person who moves the alias `champion` in MLflow leaves the reference where it is: the target is then
the version that the reference belongs to. Each promotion can be rolled back once.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from flows.registry.publication import kept_reference
from flows.registry.versions import Champion, UnfitVersionError, load_version, tags_of, version_of
from monitoring.contract.config import Config
from monitoring.contract.errors import DriftloopError
from monitoring.contract.layout import Layout
from monitoring.contract.names import PREVIOUS, REFERENCE_DIGEST
from monitoring.contract.reference import Reference


class NoRollbackTargetError(DriftloopError):
    """There is nothing to roll back to."""


@dataclass(frozen=True)
class RollbackTarget:
    """The version that served before, and the reference that belongs to it."""

    former: Champion
    reference: Reference


def find_rollback_target(layout: Layout, config: Config, champion: str, present: Reference) -> RollbackTarget:
    """Find what the champion is rolled back to; raise NoRollbackTargetError with the reason if there is none.

    Raise UnusableVersionError or InvalidReferenceError if there is one, and its artifact or reference is broken.
    """
    version, digest = _target(config.model.name, champion, present)
    try:
        former = load_version(config.model, version)
    except UnfitVersionError as error:
        raise NoRollbackTargetError(
            f"the version that served before does not fit the config any more: {error}"
        ) from error
    return RollbackTarget(former, present if digest is None else kept_reference(layout, config.model, digest))


def _target(name: str, champion: str, present: Reference) -> tuple[str, str | None]:
    """Return the version to go back to, and the digest of its reference (None: it is the present one)."""
    tags, own = tags_of(name, champion), present.model_version
    if own is not None and own != champion:
        if _promoted(tags) > _promoted(tags_of(name, own)):
            return own, None
        raise NoRollbackTargetError(
            f"the alias was moved by hand, from version {own} back to {champion}: that was a way back"
        )
    previous = version_of(name, PREVIOUS)
    if previous is None or previous == champion:
        raise NoRollbackTargetError(f"version {champion} has replaced none, or the way back was gone already")
    if rolled_back := tags_of(name, previous).get("rolled_back_at"):
        raise NoRollbackTargetError(f"version {previous}, which served before, was itself rolled back at {rolled_back}")
    digest = tags.get(REFERENCE_DIGEST)
    if digest is None:
        raise NoRollbackTargetError(f"no tag of version {champion} says which reference it has replaced")
    return previous, digest


def _promoted(tags: dict[str, str]) -> datetime:
    """Return when a flow promoted a version; one that no flow promoted came by hand, and counts as later than any."""
    moment = tags.get("promoted_at")
    return datetime.fromisoformat(moment) if moment else datetime.max.replace(tzinfo=UTC)
