"""The model: which recipe it follows, how it is trained, and how it predicts rows that it has not seen."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from flows.training.answers import Answers
from flows.training.metrics import METRICS
from flows.training.recipes import Recipe
from flows.training.sample import FOLDS, Labels, Places, Sample, as_asked, feature_matrix, kinds_of
from flows.training.tasks import TASKS
from monitoring.contract.config import Model, RetrainMetric
from monitoring.contract.onnx.model import OnnxModel
from monitoring.contract.schemas import probability_fields

Probabilities = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Predict = Callable[[Places, Places], tuple[Labels, npt.NDArray[Any], Sequence[str]]]

SURE = 1.645  # standard deviations, one-sided: 5 % by chance
MOST_TRIED = 2000  # rows that recipes are tried on: which is best is settled by fewer than a model learns from


def train(sample: Sample, recipe: Recipe | None = None) -> Pipeline:
    """Train a pipeline, the task's first recipe unless told otherwise; raise ModelError if the labels are all alike."""
    task = TASKS[sample.task]
    task.require_learnable(sample.labels)
    pipeline = (recipe or task.recipes[0]).build(sample.kinds)
    # small matrices: on a busy machine, threads that wait on each other cost tenfold
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Bins whose width are too small", UserWarning)  # a constant feature
        return pipeline.fit(sample.asked, sample.labels)


def predict_out_of_fold(
    sample: Sample,
    older: Sample | None = None,
    seed: int = 0,
    blocks: Places | None = None,
    recipe: Recipe | None = None,
) -> Answers:
    """Predict each row by a pipeline that has not seen it, so that the predictions' worth is honest.

    `older` rows are in every pipeline's training. Rows of one of the `blocks` (n,) of time are in one fold, where there
    are enough.
    """
    task = TASKS[sample.task]
    classes = task.names(sample.labels if older is None else older.extended(sample).labels)

    def predict(known: Places, unseen: Places) -> tuple[Labels, npt.NDArray[Any], Sequence[str]]:
        training = sample.take(known) if older is None else older.extended(sample.take(known))
        pipeline = train(training, recipe)
        return *task.predict(pipeline, sample.take(unseen).asked, sample.decided_by), task.classes(pipeline)

    return collect_out_of_fold(sample.labels, classes, folds_of(task.fold_strata(sample.labels), seed, blocks), predict)


def collect_out_of_fold(
    labels: Labels, classes: Sequence[str], folds: Sequence[tuple[Places, Places]], predict: Predict
) -> Answers:
    """Return the answers for labels (n,) of models that learn from each fold's first places and predict its second.

    `predict` gives predictions (k,), probabilities (k, its classes) and its classes.
    """
    answers = [(unseen, *predict(known, unseen)) for known, unseen in folds]
    every = (*classes, *sorted({name for *_, own in answers for name in own} - set(classes)))
    predicted, probabilities = np.empty(len(labels), labels.dtype), np.zeros((len(labels), len(every)))
    for unseen, answered, given, own in answers:
        predicted[unseen] = answered
        probabilities[np.ix_(unseen, np.array([every.index(name) for name in own], np.intp))] = given
    return Answers(labels, predicted, probabilities, every)


def folds_of(strata: Places, seed: int, blocks: Places | None) -> list[tuple[Places, Places]]:
    """Return the places of the rows to learn from and of those to predict, of each fold."""
    if blocks is not None and len(np.unique(blocks)) >= FOLDS:
        folds = list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(strata, strata, blocks))
        learnable = min(len(np.unique(strata)), 2)
        if all(len(np.unique(strata[known])) >= learnable and len(unseen) for known, unseen in folds):
            return folds
    return list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(strata, strata))


def choose_recipe(sample: Sample, metric: RetrainMetric, seed: int = 0, blocks: Places | None = None) -> Recipe:
    """Return the task's recipe that predicts rows best out of fold, by the metric that candidates are compared by.

    Of many rows about MOST_TRIED are tried, evenly spread. Of equals the first is taken: the simplest.
    """
    tried = _spread(TASKS[sample.task].strata(sample.labels))
    some, blocks = sample.take(tried), None if blocks is None else np.unique(blocks[tried], return_inverse=True)[1]
    once = np.ones((1, len(tried)))
    number = len(TASKS[sample.task].names(sample.labels))
    recipes = [one for one in TASKS[sample.task].recipes if number <= (one.most_categories or number)]
    answers = [predict_out_of_fold(some, None, seed, blocks, recipe) for recipe in recipes]
    values = [float(METRICS[metric](given, once)[0]) for given in answers]
    return recipes[int(np.argmax(np.nan_to_num(values, nan=-np.inf)))]


def _spread(strata: Places) -> Places:
    """Return the places of about MOST_TRIED rows, evenly spread, with 2 FOLDS of each stratum (n,) that has so many."""
    places = [_evenly(np.arange(len(strata)), MOST_TRIED)]
    places += [_evenly(np.flatnonzero(strata == one), 2 * FOLDS) for one in np.unique(strata)]
    return np.unique(np.concatenate(places))


def _evenly(places: Places, most: int) -> Places:
    return places[np.linspace(0, len(places) - 1, min(most, len(places))).astype(np.intp)]


def choose_older(
    training: Sample, older: Sample, seed: int = 0, blocks: Places | None = None, recipe: Recipe | None = None
) -> Sample | None:
    """Return the older rows if they help to predict the newer ones out of fold, else None.

    After a mild drift they make up for the newer rows' small number; after a strong one they contradict them. Newer
    rows that depend on each other in `blocks` (n,) of time show less than their number: what was learned from a day
    may not hold on the next one. So there the older rows are left out only if that is better beyond chance, by a
    one-sided test at 5 % of the blocks' differences.
    """
    losses = TASKS[training.task].losses
    alone = losses(predict_out_of_fold(training, None, seed, blocks, recipe))
    gain = losses(predict_out_of_fold(training, older, seed, blocks, recipe)) - alone
    if blocks is None:
        return older if gain.sum() <= 0 else None
    of_blocks = np.bincount(blocks, gain)
    return older if of_blocks.sum() <= SURE * np.sqrt((of_blocks**2).sum()) else None


def with_predictions(table: pa.Table, model: Model, pipeline: Pipeline, out_of_fold: Answers) -> pa.Table:
    """Fill in the predictions, and their probabilities where they are kept.

    Labelled rows take theirs out of fold, the others ask the pipeline.
    """
    task = TASKS[model.task]
    unlabelled = pc.is_null(table[model.target]).to_numpy()
    predicted = np.empty(len(table), dtype=out_of_fold.predicted.dtype)
    predicted[~unlabelled] = out_of_fold.predicted
    classes = out_of_fold.classes
    probabilities = np.zeros((len(table), len(classes)))
    probabilities[~unlabelled] = out_of_fold.probabilities
    if unlabelled.any():
        asked = as_asked(feature_matrix(table.filter(pa.array(unlabelled)), model), kinds_of(model))
        predicted[unlabelled], given = task.predict(pipeline, asked, model)
        places = np.array([classes.index(name) for name in task.classes(pipeline)], np.intp)
        probabilities[np.ix_(unlabelled, places)] = given
    return with_answers(table, model, predicted, probabilities, classes)


def predicted_by(answering: OnnxModel, rows: pa.Table, model: Model) -> pa.Table:
    """Return the columns of a reference, with a model's predictions, and its probabilities where they are kept."""
    return with_answers(rows, model, *answering.predict(feature_matrix(rows, model)), answering.classes)


def with_answers(
    table: pa.Table, model: Model, predicted: Labels, probabilities: Probabilities, classes: Sequence[str]
) -> pa.Table:
    """Return the columns of a reference, with these predictions (n,), and the probabilities where they are kept.

    The probabilities (n, classes) are those of `classes`: a category that is none of them has none.
    """
    column = pa.array(predicted.tolist(), model.rules.values)
    names = [*model.features, model.target, "timestamp"]
    table = table.select([name for name in names if name in table.column_names]).append_column(model.prediction, column)
    for field, category in zip(probability_fields(model), model.categories, strict=False):
        known = category in classes
        values = probabilities[:, classes.index(category)] if known else np.zeros(len(table))
        table = table.append_column(field, pa.array(values.astype(np.float64)).cast(field.type))
    return table
