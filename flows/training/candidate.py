"""A candidate: trained on collected rows, and compared with the champion on rows that neither has seen."""

from dataclasses import dataclass

import onnx
import pyarrow as pa
from sklearn.pipeline import Pipeline

from flows.training.evaluation import Comparison, compare, hold_out
from flows.training.pipeline import (
    PARAMETERS,
    Sample,
    choose_older,
    export_onnx,
    predict_out_of_fold,
    sample_of,
    train,
    with_predictions,
)
from flows.training.reliability import fit_reliability_curve
from monitoring.contract.config import Config, Model
from monitoring.contract.onnx.model import OnnxModel, load_onnx
from monitoring.contract.reference import Performance


@dataclass(frozen=True)
class Candidate:
    """A trained candidate and its comparison; `older` are the reference's rows if it learned from them too."""

    pipeline: Pipeline
    older: Sample | None
    exported: onnx.ModelProto
    comparison: Comparison
    seed: int

    def parameters(self, rows: int, holdout: float) -> dict[str, object]:
        """Return the parameters of its training on so many collected rows."""
        older = len(self.older.labels) if self.older else 0
        return {**PARAMETERS, "rows": rows, "older_rows": older, "holdout": holdout, "seed": self.seed}

    def metrics(self) -> dict[str, float]:
        """Return the comparison's scores by name."""
        scores = {
            f"{who}_{key}": getattr(found, key)
            for who, found in (("champion", self.comparison.champion), ("candidate", self.comparison.candidate))
            for key in ("accuracy", "macro_f1", "log_loss")
        }
        return {**scores, "gain": self.comparison.gain, "mcnemar_p_value": self.comparison.mcnemar_p_value}


def make_candidate(rows: pa.Table, reference: pa.Table, champion: OnnxModel, config: Config, seed: int) -> Candidate:
    """Train a candidate and compare it with the champion on the same held-out rows.

    It learns from the rows that are not held out, and from the reference's where those help.
    """
    training, held = hold_out(sample_of(rows, config.model), config.retrain.holdout, seed)
    older = choose_older(training, sample_of(reference, config.model), seed)
    pipeline = train(older.extended(training) if older else training)
    exported = export_onnx(pipeline, config.model)
    candidate = load_onnx(exported.SerializeToString(), config.model)
    comparison = compare(champion, candidate, held, config.retrain.minimum_gain)
    return Candidate(pipeline, older, exported, comparison, seed)


def rebased(rows: pa.Table, candidate: Candidate, model: Model) -> tuple[pa.Table, Performance]:
    """Return the rows as the candidate's reference, predicted out of fold, and its expected performance.

    The expected accuracy is that on the held-out rows. The confidence is calibrated on all rows, out of fold: they are
    several times as many.
    """
    sample = sample_of(rows, model)
    predicted, confidence = predict_out_of_fold(sample, candidate.older, candidate.seed)
    curve = fit_reliability_curve(confidence, predicted == sample.labels)
    held = candidate.comparison
    table = with_predictions(rows, model, candidate.pipeline, predicted)
    return table, Performance(held.candidate.accuracy, held.rows, curve)
