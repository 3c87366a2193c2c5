"""A candidate: trained on collected rows, and compared with the champion on rows that neither has seen."""

from dataclasses import dataclass

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.pipeline import Pipeline

from flows.training.evaluation import Comparison, Standing, ask, compare, standing
from flows.training.held_out import blocks_of, split_rows
from flows.training.pipeline import (
    PARAMETERS,
    Places,
    Sample,
    choose_older,
    export_onnx,
    feature_matrix,
    predict_out_of_fold,
    sample_of,
    train,
    with_answers,
    with_predictions,
)
from flows.training.reliability import fit_reliability_curve
from monitoring.contract.config import Config, Model
from monitoring.contract.onnx.classification import NO_ANSWER
from monitoring.contract.onnx.model import OnnxModel, load_onnx
from monitoring.contract.reference import Performance

_SCORED = ("accuracy", "macro_f1", "log_loss", "roc_auc")


@dataclass(frozen=True)
class Candidate:
    """A trained candidate and its comparison; `older` are the reference's rows if it learned from them too.

    `standing` is how right the champion is on all labelled rows since the change: it has learned from none of them.
    `cycle` (seconds) is that of the rows, None without one.
    """

    pipeline: Pipeline
    older: Sample | None
    exported: onnx.ModelProto
    comparison: Comparison
    standing: Standing
    seed: int
    cycle: float | None = None

    def parameters(self, rows: int, holdout: float) -> dict[str, object]:
        """Return the parameters of its training on so many collected rows."""
        older = len(self.older.labels) if self.older else 0
        return {**PARAMETERS, "rows": rows, "older_rows": older, "holdout": holdout, "seed": self.seed}

    def metrics(self) -> dict[str, float]:
        """Return the comparison's scores by name, those that there are."""
        scores = {
            f"{who}_{key}": float(getattr(found, key))
            for who, found in (("champion", self.comparison.champion), ("candidate", self.comparison.candidate))
            for key in _SCORED
        }
        scores |= {
            "gain": self.comparison.gain,
            "gain_p_value": self.comparison.p_value,
            "mcnemar_p_value": self.comparison.mcnemar_p_value,
            "champion_accuracy_since_change": self.standing.accuracy,
            "champion_accuracy_at_least": self.standing.at_least,
        }
        return {name: value for name, value in scores.items() if np.isfinite(value)}


def make_candidate(
    rows: pa.Table,
    reference: pa.Table,
    champion: OnnxModel,
    config: Config,
    seed: int,
    *,
    older: int = 0,
    cycle: float | None = None,
) -> Candidate:
    """Train a candidate and compare it with the champion on the same held-out rows.

    It learns from the rows that are not held out, and from the reference's where those help. The first `older` rows
    came before the change: the candidate learns from them, and nobody is judged by them. Where the rows follow a
    `cycle` (seconds), whole blocks of time are held out.
    """
    retrain, model = config.retrain, config.model
    before, since = sample_of(rows.slice(0, older), model), sample_of(rows.slice(older), model)
    every = _blocks(rows, cycle)
    blocks = _blocks(rows.slice(older), cycle)
    split = split_rows(since, retrain.holdout, seed, blocks)
    training = before.extended(since.take(split.training))
    learned = None if every is None else np.append(every[:older], every[older:][split.training])
    former = choose_older(training, sample_of(reference, model), seed, learned)
    pipeline = train(former.extended(training) if former else training)
    exported = export_onnx(pipeline, model)
    comparison = compare(
        champion,
        load_onnx(exported.SerializeToString(), model),
        since.take(split.held),
        retrain.minimum_gain,
        metric=retrain.metric,
        gate=retrain.gate,
        blocks=None if blocks is None else blocks[split.held],
    )
    right = standing(ask(champion, since).correct, retrain.gate.level, blocks)
    return Candidate(pipeline, former, exported, comparison, right, seed, cycle)


def _blocks(rows: pa.Table, cycle: float | None) -> Places | None:
    """Return the block of time that each row lies in (n,); None where rows follow no cycle."""
    return None if cycle is None else blocks_of(rows["timestamp"].cast(pa.int64()).to_numpy(), cycle)


def rebased(rows: pa.Table, candidate: Candidate, model: Model) -> tuple[pa.Table, Performance]:
    """Return the rows as the candidate's reference, predicted out of fold, and its expected performance.

    The expected accuracy is that on the held-out rows. The confidence is calibrated on all rows, out of fold: they are
    several times as many.
    """
    sample = sample_of(rows, model)
    blocks = _blocks(rows.filter(pc.is_valid(rows[model.target])), candidate.cycle)
    predicted, confidence = predict_out_of_fold(sample, candidate.older, candidate.seed, blocks)
    curve = fit_reliability_curve(confidence, predicted == sample.labels)
    held = candidate.comparison
    table = with_predictions(rows, model, candidate.pipeline, predicted)
    return table, Performance(held.candidate.accuracy, held.rows, curve)


def accepted(rows: pa.Table, champion: OnnxModel, model: Model, promised: float) -> tuple[pa.Table, Performance]:
    """Return the rows as the champion's new reference, predicted by it, and how right it is on them.

    It has learned from none of them, so its answers are as honest as those that were given at the time. A row that it
    has no answer for counts as wrong, and is left out. `promised` is its accuracy at its promotion, by which it is
    still judged.
    """
    predicted, probabilities = champion.predict(feature_matrix(rows, model))
    right = np.asarray(predicted == np.array(rows[model.target].to_pylist(), dtype=object), dtype=np.bool_)
    confidence = np.nan_to_num(probabilities).max(axis=1).astype(np.float32)
    answered = predicted != NO_ANSWER
    performance = Performance(float(right.mean()), len(right), fit_reliability_curve(confidence, right), promised)
    return with_answers(rows.filter(pa.array(answered)), model, predicted[answered]), performance
