"""Two methods of the literature that the monitor could use instead of its own, and does not: docs/alarms.md."""

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.isotonic import IsotonicRegression

from benchmarks.estimates.rows import Floats, Period

KNOWN_ROWS = 10_000  # of the reference at most, that weights are found for: 0.1 s a window
LARGEST_WEIGHT, BINS = 20.0, 10
MISCOVERAGE = 0.05


def _classifier() -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=8, min_samples_leaf=20, random_state=0)


def reweighted(reference: Period, window: Period, rng: np.random.Generator) -> float:
    """Return PAPE's estimate of the window's accuracy (Bialek et al. 2024, arXiv 2401.08348).

    A classifier tells the window's rows from the reference's; its odds are how much likelier a row is in the window.
    The confidence is calibrated anew on the reference's rows, each counted by its weight. A row's weight comes from a
    classifier that has not seen the row.
    """
    known = reference.take(rng.permutation(len(reference))[:KNOWN_ROWS])
    halves, weights = np.array_split(np.arange(len(known)), 2), np.empty(len(known))
    for seen, unseen in (halves, halves[::-1]):
        rows = np.concatenate([window.features, known.features[seen]])
        there = np.arange(len(rows)) < len(window)
        share = _classifier().fit(rows, there).predict_proba(known.features[unseen])[:, 1]
        weights[unseen] = np.minimum(share / (1 - share) * len(seen) / len(window), LARGEST_WEIGHT)
    order = np.argsort(known.confidence, kind="stable")
    total = np.cumsum(weights[order])
    bins = [b for b in np.split(order, np.searchsorted(total, total[-1] * np.arange(1, BINS) / BINS)) if len(b)]
    knots, right, number = (
        np.array([np.average(values[b], weights=weights[b]) for b in bins])
        if values is not None
        else np.array([weights[b].sum() for b in bins])
        for values in (known.confidence, known.right, None)
    )
    curve = IsotonicRegression(y_min=0, y_max=1).fit_transform(knots, right, sample_weight=number)
    return float(np.interp(window.confidence, knots, curve).mean())


def harm_from(reference: Period, log: Period) -> int | None:
    """Return the row at which a sequential test without labels alarms, None if it never does.

    After Amoukou et al. 2024 (arXiv 2412.12910): an error estimator is trained on one half of the reference; on the
    other half the cut is chosen that tells wrong rows from right ones best (Youden). The test alarms when the lower
    confidence sequence of the log's share above the cut exceeds the upper bound of the reference's share.
    """
    mixed = np.random.default_rng(0).permutation(len(reference))  # its theory takes rows drawn one by one
    trained, held = reference.take(mixed[::2]), reference.take(mixed[1::2])
    model = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=8, min_samples_leaf=20, random_state=0)
    model.fit(np.column_stack([trained.features, trained.confidence]), ~trained.right)

    def error(rows: Period) -> Floats:
        scores: Floats = model.predict_proba(np.column_stack([rows.features, rows.confidence]))[:, 1]
        return scores

    scores = error(held)
    cuts = np.quantile(scores, np.linspace(0.02, 0.98, 97))
    gains = [np.mean(scores[~held.right] > cut) - np.mean(scores[held.right] > cut) for cut in cuts]
    cut = cuts[int(np.argmax(gains))]
    flagged = (scores > cut).astype(float)
    upper = flagged.mean() + np.sqrt(np.log(2 / MISCOVERAGE) / (2 * len(flagged)))
    above = np.flatnonzero(lower_sequence((error(log) > cut).astype(float)) > upper)
    return int(above[0]) if above.size else None


def lower_sequence(values: Floats) -> Floats:
    """Return the lower empirical-Bernstein confidence sequence of the running mean of values (n,) in [0, 1].

    Waudby-Smith and Ramdas 2023, theorem 2, with predictable plug-in bets.
    """
    number = np.arange(1, len(values) + 1)
    mean = (0.5 + np.cumsum(values)) / (number + 1)
    variance = (0.25 + np.cumsum((values - mean) ** 2)) / (number + 1)
    before_mean, before = np.concatenate([[0.5], mean[:-1]]), np.concatenate([[0.25], variance[:-1]])
    alarm = np.log(2 / MISCOVERAGE)
    bets = np.minimum(np.sqrt(2 * alarm / (before * number * np.log1p(number))), 0.5)
    cost = (values - before_mean) ** 2 * (-np.log1p(-bets) - bets)
    total = np.cumsum(bets)
    lower: Floats = np.cumsum(bets * values) / total - (alarm + np.cumsum(cost)) / total
    return lower
