"""What champion and candidate are compared by, on rows that may count more than once, as a bootstrap draws them.

Each metric takes a model's answers on n rows and weights (draws, n), and returns its value for each draw. More is
better: losses count with their sign reversed.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from flows.training.answers import Answers, Values
from monitoring.contract.config import RetrainMetric

Weights = npt.NDArray[np.float64]

TITLES: Mapping[RetrainMetric, str] = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "log_loss": "log loss",
    "roc_auc": "ROC AUC",
    "mae": "mean absolute error",
    "rmse": "root mean square error",
}
LOSSES: frozenset[RetrainMetric] = frozenset({"log_loss", "mae", "rmse"})
RELATIVE: frozenset[RetrainMetric] = frozenset({"mae", "rmse"})  # in the label's units: a gain is a share of the loss
_FLOOR = 1e-7  # a category that a model does not know has no probability; the log loss stays finite


def metric_value(metric: RetrainMetric, answers: Answers) -> float:
    """Return a metric on rows that count once each; the log loss is in nats, and less of a loss is better."""
    value = float(METRICS[metric](answers, np.ones((1, len(answers.labels))))[0])
    return -value if metric in LOSSES else value


def gain(metric: RetrainMetric, former: Values, latter: Values) -> Values:
    """Return what the latter's values of a metric add to the former's (draws,), as METRICS give them.

    Of errors in the label's units it is the share of the former's error that the latter takes away.
    """
    added = np.asarray(latter - former)
    if metric not in RELATIVE:
        return added
    whole = np.where(former < 0, -former, 1.0)  # of a former that makes no error the latter's is all there is
    return np.asarray(added / whole)


def shown(metric: RetrainMetric, value: float) -> str:
    """Return a metric's value as text: a share to three places, what has a unit to four digits."""
    return f"{value:.4g}" if metric in RELATIVE else f"{value:.3f}"


def _accuracy(answers: Answers, weights: Weights) -> Values:
    return np.asarray(weights @ answers.correct / weights.sum(axis=1))


def _macro_f1(answers: Answers, weights: Weights) -> Values:
    """Return the mean F1 of the categories that occur among the rows of a draw."""
    total, number = np.zeros(len(weights)), np.zeros(len(weights))
    for category in sorted(set(answers.labels)):
        of, said = answers.labels == category, answers.predicted == category
        labelled, counted = weights @ of, weights @ of + weights @ said
        f1 = np.divide(2 * (weights @ (of & said)), counted, out=np.zeros(len(weights)), where=counted > 0)
        total, number = total + f1 * (labelled > 0), number + (labelled > 0)
    return np.asarray(total / number)


def _log_likelihood(answers: Answers, weights: Weights) -> Values:
    given = np.zeros(len(answers.labels))
    for category in set(answers.labels):
        of = answers.labels == category
        given[of] = answers.probability(category)[of]
    return np.asarray(weights @ np.log(np.maximum(given, _FLOOR)) / weights.sum(axis=1))


def _roc_auc(answers: Answers, weights: Weights) -> Values:
    """Return the mean area of each category against all others (Hand and Till 2001 discuss both means).

    It is over the categories that a draw has rows of, and rows of others; NaN if there is none. An area is the
    probability that a row of the category is given a higher probability of it than one of another, ties counting half.
    """
    total, number = np.zeros(len(weights)), np.zeros(len(weights))
    for category in sorted(set(answers.labels)):
        scores = answers.probability(category)
        order = np.argsort(scores, kind="stable")
        ranked, of = weights[:, order], (answers.labels == category)[order]
        starts = np.flatnonzero(np.append(True, np.diff(scores[order]) > 0))
        inside = np.add.reduceat(ranked * of, starts, axis=1)
        others = np.add.reduceat(ranked * ~of, starts, axis=1)
        pairs = inside.sum(axis=1) * others.sum(axis=1)
        won = np.sum(inside * (np.cumsum(others, axis=1) - others / 2), axis=1)
        total = total + np.divide(won, pairs, out=np.zeros(len(weights)), where=pairs > 0)
        number = number + (pairs > 0)
    return np.asarray(np.divide(total, number, out=np.full(len(weights), np.nan), where=number > 0))


def _absolute_error(answers: Answers, weights: Weights) -> Values:
    return np.asarray(-(weights @ np.abs(answers.errors)) / weights.sum(axis=1))


def _root_square_error(answers: Answers, weights: Weights) -> Values:
    return np.asarray(-np.sqrt(weights @ answers.errors**2 / weights.sum(axis=1)))


METRICS: Mapping[RetrainMetric, Callable[[Answers, Weights], Values]] = {
    "accuracy": _accuracy,
    "macro_f1": _macro_f1,
    "log_loss": _log_likelihood,
    "roc_auc": _roc_auc,
    "mae": _absolute_error,
    "rmse": _root_square_error,
}
