"""A model that somebody brings is put before the gate: held against the champion, and promoted if it passes."""

from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa

from flows.rebasing import Ground, stage_rebased
from flows.registration import Registration, Say
from flows.registry.publication import complete
from flows.registry.versions import Champion, promote
from flows.retrain_gate import RetrainGate, Verdict
from flows.run_history import RunRecord
from flows.training.candidate import comparison_metrics, time_blocks
from flows.training.collection import collect, shortage
from flows.training.evaluation import Comparison, ask, compare
from flows.training.held_out import split_rows
from flows.training.metrics import TITLES
from flows.training.pipeline import with_answers
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

    name: Verdict | str
    message: str


def propose(of: Registration, champion: Champion, record: RunRecord, say: Say) -> Outcome:
    """Hold a model against the champion on the labelled rows that a retraining would hold out; promote it if it passes.

    It is registered as a version whether it passes or not. Without enough labels nothing is: `TooFewLabels`.
    """
    config, model = of.config, of.config.model
    state = read_drift_state(of.layout, drift_key(of.reference, model)) or DriftState()
    cycle = state.cycle_seconds or config.cycle_seconds
    onset = state.alarm.onset if state.alarm else None
    collected = collect(of.layout, config, champion.unseen_after(of.reference), onset, cycle)
    say(collected.describe())
    if reason := shortage(collected, config):
        return Outcome("TooFewLabels", reason)
    since, blocks = sample_of(collected.table.slice(collected.older), model), None
    blocks = time_blocks(collected.table.slice(collected.older), cycle)
    held = split_rows(since, config.retrain.holdout, SEED, blocks).held
    comparison = compare(
        champion.onnx,
        of.conversion.onnx,
        since.take(held),
        config.retrain.minimum_gain,
        metric=config.retrain.metric,
        gate=config.retrain.gate,
        blocks=None if blocks is None else blocks[held],
    )
    standing = TASKS[model.task].standing(ask(champion.onnx, since), config.retrain.gate.level, blocks)
    promised = of.reference.performance.promised if of.reference.performance else None
    gate = RetrainGate(comparison, standing, promised, config.retrain.margin, changed=False)
    passed = gate.verdict == "Promoted"
    registered = of.register(
        {"gate": "passed" if passed else "refused", REFERENCE_DIGEST: of.reference.digest},
        comparison_metrics(comparison, standing, None),
    )
    record.compare(comparison, champion.version, registered.version)
    told = _told(comparison, registered.version, champion.version)
    if not passed:
        return Outcome("NotPromoted", f"{told}, which stays champion. A promotion takes {comparison.describe_lack()}")
    ground = Ground(config, of.layout, collected, of.reference, state.since)
    predict = partial(as_predicted, answering=of.conversion.onnx, model=model, expected=comparison.expected)
    stage_rebased(ground, registered.version, predict, replaces=True)
    promote(model.name, registered.version, champion.version)
    record.version = registered.version
    complete(of.layout, registered.version)
    return Outcome("Promoted", f"{told}: it is champion, and the reference is re-based")


def as_predicted(
    rows: pa.Table, answering: OnnxModel, model: Model, expected: Performance | None
) -> tuple[pa.Table, Performance]:
    """Return labelled rows as a model's reference, predicted by it, and what held-out rows let expect of it.

    The calibration is that of all rows: they are several times as many. A row without an answer is left out.
    """
    answers = ask(answering, sample_of(rows, model))
    answered = answering.answered(answers.predicted)
    measured = TASKS[model.task].performance(answers)
    performance = measured if expected is None else replace(expected, calibration=measured.calibration)
    rows, probabilities = rows.filter(pa.array(answered)), answers.probabilities[answered]
    return with_answers(rows, model, answers.predicted[answered], probabilities, answers.classes), performance


def _told(comparison: Comparison, version: str, champion: str) -> str:
    asked = f"{TITLES[comparison.metric]}: gain {comparison.describe_gain()}"
    return (
        f"version {version} has {comparison.describe()} of version {champion} on {comparison.rows} held-out rows "
        f"({asked}; p = {comparison.p_value:.2g})"
    )
