"""A model that somebody brings: it becomes the first champion, or is held against the one that there is."""

from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa

from flows.rebasing import Ground, stage_rebased
from flows.registration import Registration, Say, make_champion
from flows.registry.publication import complete
from flows.registry.versions import Champion, RegistryError, load_champion, promote
from flows.rollout import trial_on
from flows.run_history import RunRecord
from flows.training.candidate import comparison_metrics, judge, time_blocks
from flows.training.collection import collect, require_reference, shortage
from flows.training.evaluation import Comparison, ask
from flows.training.held_out import split_rows
from flows.training.metrics import TITLES
from flows.training.pipeline import predicted_by
from flows.training.sample import sample_of
from flows.training.tasks import TASKS
from monitoring.contract.config import Model
from monitoring.contract.drift_state import DriftState, drift_key, read_drift_state
from monitoring.contract.names import REFERENCE_DIGEST
from monitoring.contract.onnx.model import OnnxModel
from monitoring.contract.reference import Performance

SEED = 21  # of the draw of rows that are held out: the same rows for the same proposal


@dataclass(frozen=True)
class Outcome:
    """What became of a proposal, in one word and in a sentence."""

    name: str
    message: str


def bring_forward(of: Registration, record: RunRecord, say: Say, *, may_be_first: bool) -> Outcome:
    """Make a model the first champion, or propose it where there is a champion; keep the outcome in the record.

    Where it is champion already nothing is changed, but what a run that was cut off has left behind: `Ready`. Raise
    RegistryError if there is no champion to hold it against, and it may not be the first one.
    """
    champion = load_champion(of.config.model)
    if champion is None and not may_be_first:
        raise RegistryError(f"{of.config.model.name} has no champion; `register` makes this model the first one")
    if champion is None:
        record.version = make_champion(of.renewed(), say).version
        outcome = Outcome("Promoted", f"version {record.version} is champion, the first one")
    else:
        record.version = champion.version
        complete(of.layout, champion.version)
        if of.is_version(champion.version):
            record.catch_up()
            return Outcome("Ready", f"version {champion.version} is champion already, and holds this very model")
        outcome = propose(of.renewed(), champion, record, say)
    record.keep(outcome.name, outcome.message)
    return outcome


def propose(of: Registration, champion: Champion, record: RunRecord, say: Say) -> Outcome:
    """Hold a model against the champion on the labelled rows that a retraining would hold out; promote it if it passes.

    A tie is not enough: a candidate of ours has learned from newer rows, and this model need not have. It is registered
    as a version whether it passes or not. Without enough labels nothing is: `TooFewLabels`.
    """
    config, model = of.config, of.config.model
    state = read_drift_state(of.layout, drift_key(of.reference, model)) or DriftState()
    cycle = state.cycle_seconds or config.cycle_seconds
    onset = state.alarm.onset if state.alarm else None
    if of.learned_through is None:
        say("note: nobody can see which rows it has learned from; --learned-through TIME keeps those from judging it")
    learned = [moment for moment in (champion.unseen_after(of.reference), of.learned_through) if moment is not None]
    collected = collect(of.layout, config, max(learned, default=None), onset, cycle)
    say(collected.describe())
    if reason := shortage(collected, config):
        return Outcome("TooFewLabels", reason)
    require_reference(collected, config)
    of.require_answers(collected.table)
    since = sample_of(collected.table.slice(collected.older), model)
    blocks = time_blocks(collected.table.slice(collected.older), cycle)
    held = split_rows(since, config.retrain.holdout, SEED, blocks).held
    comparison, standing = judge(config, champion.onnx, of.conversion.onnx, since, held, blocks=blocks)
    passed = comparison.passed and comparison.gain > 0
    registered = of.register(
        {"gate": "passed" if passed else "refused", REFERENCE_DIGEST: of.reference.digest},
        comparison_metrics(comparison, standing, None),
    )
    record.compare(comparison, champion.version, registered.version)
    told = _told(comparison, registered.version, champion.version)
    if not passed:
        lack = "a gain, and there is none" if comparison.passed else comparison.describe_lack()
        return Outcome("NotPromoted", f"{told}, which stays champion. A promotion takes {lack}")
    ground = Ground(config, of.layout, collected, of.reference, state.since)
    predict = partial(as_predicted, answering=of.conversion.onnx, model=model, expected=comparison.expected)
    stage_rebased(ground, registered.version, predict, replaces=True)
    promote(model.name, registered.version, champion.version)
    record.version = registered.version
    complete(of.layout, registered.version)
    trial_on(config, of.layout, registered.version, record)  # one is over: it was held against the other champion
    return Outcome("Promoted", f"{told}: it is champion, and the reference is re-based")


def as_predicted(
    rows: pa.Table, answering: OnnxModel, model: Model, expected: Performance | None
) -> tuple[pa.Table, Performance]:
    """Return labelled rows as a model's reference, predicted by it, and what held-out rows let expect of it.

    The calibration is that of all rows: they are several times as many.
    """
    measured = TASKS[model.task].performance(ask(answering, sample_of(rows, model)))
    performance = measured if expected is None else replace(expected, calibration=measured.calibration)
    return predicted_by(answering, rows, model), performance


def _told(comparison: Comparison, version: str, champion: str) -> str:
    asked = f"{TITLES[comparison.metric]}: gain {comparison.describe_gain()}"
    return (
        f"version {version} has {comparison.describe()} of version {champion} on {comparison.rows} held-out rows "
        f"({asked}; p = {comparison.p_value:.2g})"
    )
