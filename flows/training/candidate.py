"""A candidate: trained on collected rows, and compared with the champion on rows that neither has seen."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.training.answers import Answers
from flows.training.errors import ModelError
from flows.training.evaluation import Comparison, ask, compare
from flows.training.held_out import blocks_of, split_rows
from flows.training.pipeline import predicted_by, with_answers
from flows.training.sample import Places, Sample, answers_in, feature_matrix, sample_of
from flows.training.scores import Standing
from flows.training.tasks import TASKS
from flows.training.trained import Lesson, RecipeTrainer, Trained, Trainer
from monitoring.contract.config import Config, Model
from monitoring.contract.onnx.model import OnnxModel, UnfitModelError, load_onnx
from monitoring.contract.reference import Performance


@dataclass(frozen=True)
class Candidate:
    """A trained candidate and its comparison.

    `standing` is how good the champion is on all labelled rows since the change: it has learned from none of them.
    `cycle` (seconds) is that of the rows, None without one.
    """

    trained: Trained
    classes: tuple[str, ...]
    comparison: Comparison
    standing: Standing
    seed: int
    cycle: float | None = None

    def parameters(self, rows: int, holdout: float) -> dict[str, object]:
        """Return the parameters of its training on so many collected rows."""
        return {**self.trained.parameters, "rows": rows, "holdout": holdout, "seed": self.seed}

    def metrics(self) -> dict[str, float]:
        """Return the comparison's scores by name, those that there are."""
        return comparison_metrics(self.comparison, self.standing, self.trained.apart)


def comparison_metrics(compared: Comparison, standing: Standing, apart: float | None) -> dict[str, float]:
    """Return what a comparison with the champion has shown, those numbers that there are."""
    scores = {
        f"{who}_{key}": value
        for who, found in (("champion", compared.champion), ("candidate", compared.candidate))
        for key, value in found.values.items()
    }
    scores |= {"gain": compared.gain, "gain_p_value": compared.p_value, **standing.metrics()}
    for name, value in (("export_difference", apart), ("mcnemar_p_value", compared.mcnemar_p_value)):
        if value is not None:
            scores[name] = value
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
    trainer: Trainer | None = None,
) -> Candidate:
    """Train a candidate and compare it with the champion on the same held-out rows.

    It learns from the rows that are not held out, and from the reference's where those help; the trainer is by default
    that of the recipes. The first `older` rows came before the change: the candidate learns from them, and nobody is
    judged by them. Where the rows follow a `cycle` (seconds), whole blocks of time are held out. Raise ModelError if
    there is no candidate, or it has no answer for some of the rows.
    """
    retrain, model = config.retrain, config.model
    since = sample_of(rows.slice(older), model)
    every = time_blocks(rows, cycle)
    blocks = time_blocks(rows.slice(older), cycle)
    split = split_rows(since, retrain.holdout, seed, blocks)
    places = np.append(np.arange(older), older + split.training)
    lesson = Lesson(rows.take(places), reference, model, seed, None if every is None else every[places])
    trained = (trainer or RecipeTrainer(retrain.metric)).train(lesson)
    loaded = load_onnx(trained.exported.SerializeToString(), model)
    try:
        loaded.require_answers(feature_matrix(rows, model), "those that were collected")
    except UnfitModelError as error:
        raise ModelError(f"the candidate, {trained.name}, cannot be used: {error}. The champion stays") from error
    comparison, standing = judge(config, champion, loaded, since, split.held, blocks=blocks)
    return Candidate(trained, loaded.classes, comparison, standing, seed, cycle)


def judge(
    config: Config, champion: OnnxModel, other: OnnxModel, since: Sample, held: Places, *, blocks: Places | None
) -> tuple[Comparison, Standing]:
    """Compare another model with the champion on the rows at held-out places, and see how good the champion is on all.

    The rows (n,) came since the change; `blocks` are those of time that they lie in (n,), None without a cycle.
    """
    retrain = config.retrain
    comparison = compare(
        champion,
        other,
        since.take(held),
        retrain.minimum_gain,
        metric=retrain.metric,
        gate=retrain.gate,
        blocks=None if blocks is None else blocks[held],
    )
    return comparison, TASKS[config.model.task].standing(ask(champion, since), retrain.gate.level, blocks)


def time_blocks(rows: pa.Table, cycle: float | None) -> Places | None:
    """Return the block of time that each row lies in (n,); None where rows follow no cycle."""
    return None if cycle is None else blocks_of(rows["timestamp"].cast(pa.int64()).to_numpy(), cycle)


def rebased(rows: pa.Table, candidate: Candidate, model: Model) -> tuple[pa.Table, Performance]:
    """Return labelled rows as the candidate's reference, predicted out of fold, and its expected performance.

    What is expected is what it achieves on the held-out rows. The confidence is calibrated on all rows, out of fold:
    they are several times as many.
    """
    answers = candidate.trained.out_of_fold(rows, candidate.seed, time_blocks(rows, candidate.cycle))
    table = with_answers(rows, model, answers.predicted, answers.probabilities, answers.classes)
    assert candidate.comparison.expected is not None
    calibration = TASKS[model.task].performance(answers).calibration
    return table, replace(candidate.comparison.expected, calibration=calibration)


def accepted(rows: pa.Table, champion: OnnxModel, model: Model, promised: float | None) -> tuple[pa.Table, Performance]:
    """Return the rows as the champion's new reference, predicted by it, and how good it is on them.

    It has learned from none of them, so its answers are as honest as those that were given at the time. A row that it
    has no answer for counts as wrong, and is left out. `promised` is what it achieved at its promotion, by which it is
    still judged; None for one that is promoted now.
    """
    answers = ask(champion, sample_of(rows, model))
    performance = TASKS[model.task].performance(answers, promised)
    answered = rows.filter(pa.array(champion.answered(answers.predicted)))
    return predicted_by(champion, answered, model), performance


def kept_performance(table: pa.Table, model: Model) -> Performance | None:
    """Return how good the predictions are that a user's reference holds; None if none of them has a label.

    There is no reliability curve: their model's confidence is unknown.
    """
    both = table.filter(pc.and_(pc.is_valid(table[model.prediction]), pc.is_valid(table[model.target])))
    if not len(both):
        return None
    labels, predicted = (answers_in(both[name], model) for name in (model.target, model.prediction))
    return TASKS[model.task].performance(Answers(labels, predicted, np.empty((len(labels), 0)), ()))
