"""What a start of the flows does without training: it keeps the champion, registers `model.source`, or waits.

No start replaces a champion, whatever has become of the config and of the reference.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import pyarrow as pa

from data.sample import draw_reference
from flows.registration import Say, absent_reference, make_champion, prepare
from flows.registry.publication import complete, stage
from flows.registry.versions import Champion, RegistryError, UnfitVersionError, load_champion, tags_of
from flows.training.pipeline import predicted_by
from monitoring.contract.config import Config
from monitoring.contract.errors import DriftloopError
from monitoring.contract.layout import Layout
from monitoring.contract.reference import Reference, read_reference
from monitoring.contract.rhythm_rows import read_rhythm_rows
from monitoring.contract.uris import shown

WAITING = "Waiting"


class Start(NamedTuple):
    """How a start has ended, in one word and in a sentence, and the version that is champion then."""

    outcome: str
    message: str
    version: str | None = None


def is_predicted(reference: Reference, config: Config) -> bool:
    """Say whether a reference holds predictions."""
    return bool(reference.table[config.model.prediction].null_count < len(reference.table))


def keep_champion(config: Config, layout: Layout, version: str, say: Say) -> Start:
    """Keep the champion, and complete its reference: what a cut off run has staged, and predictions that are missing.

    Raise UnfitVersionError if it does not fit the config, UnusableVersionError if it cannot be used.
    """
    model = config.model
    complete(layout, version)
    try:
        champion = load_champion(model)
    except UnfitVersionError as error:
        raise UnfitVersionError(
            f"{error}. A start replaces no champion: give the config's model another name, register a model that fits "
            f"(`python -m flows register`) after removing the alias `champion` from it in MLflow, or undo the change"
        ) from error
    if champion is None:  # somebody has removed the alias since
        raise RegistryError(f"version {version} of {model.name} is champion no more; start again")
    _note_other_source(config, version, say)
    present = read_reference(layout, model, predicted=False) if layout.reference.exists() else None
    table = _sample(config, layout, say) if present is None else present.table
    champion.require_answers(table, model)
    if present is None or not is_predicted(present, config):
        _fill_predictions(config, layout, champion, table, present)
        say(f"version {version} has predicted the reference's {len(table)} rows")
    return Start("Ready", f"version {version} is champion; the reference is complete", version)


def start_without_training(config: Config, layout: Layout, say: Say, tags: Mapping[str, str]) -> Start | None:
    """Make `model.source` the first champion, or wait for one; None if neither is asked for."""
    if config.model.source is not None:
        registration = prepare(config, layout, config.model.source, say)
        version = make_champion(registration, say, tags).version
        return Start("Promoted", f"version {version} is champion: {registration.brought.source}", version)
    if config.bootstrap == "wait":
        return Start(WAITING, f"{config.model.name} has no champion, and nothing is served: {config.first_model}")
    return None


def _sample(config: Config, layout: Layout, say: Say) -> pa.Table:
    try:
        table: pa.Table = draw_reference(config.model)
    except DriftloopError as error:
        raise absent_reference(config, layout) from error
    say(f"there is no reference: {len(table)} sample rows were drawn")
    return table


def _note_other_source(config: Config, version: str, say: Say) -> None:
    source = config.model.source
    if source is not None and tags_of(config.model.name, version).get("source") != shown(source):
        say(
            f"model.source is for a first start: version {version} is champion and stays; `python -m flows propose "
            "--model …` puts another model before the gate"
        )


def _fill_predictions(
    config: Config, layout: Layout, champion: Champion, table: pa.Table, present: Reference | None
) -> None:
    """Fill the reference's predictions by the champion.

    Nobody has measured how good it is on rows that it has not seen, so the reference promises no accuracy.
    """
    model = config.model
    filled = predicted_by(champion.onnx, table, model)
    if present is None:
        stage(layout, model, champion.version, filled, origin="sample")
    else:
        rhythm = read_rhythm_rows(layout, model, present.digest)
        place = partial(stage, origin=present.origin, through=present.through, rhythm_rows=rhythm)
        place(layout, model, champion.version, filled)
    complete(layout, champion.version)
