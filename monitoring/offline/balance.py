"""Advice on unequal categories: what a constant answer would achieve, and which scores tell a model from it."""

from collections.abc import Iterator

from monitoring.contract.config import Config
from monitoring.contract.reference import Reference

MUCH = 0.8  # of the rows: a category with more leaves accuracy little to tell


def advise(reference: Reference, config: Config) -> Iterator[str]:
    """Yield lines on a classification whose accuracy, or F1, says little with a reference's labels; it is no error."""
    model = config.model
    labels = reference.table[model.target].drop_null()
    if model.task != "classification" or not len(labels):
        return
    found = {one["values"]: one["counts"] for one in labels.value_counts().to_pylist()}
    frequent = max(found, key=lambda name: found[name])
    share = found[frequent] / len(labels)
    passing = [
        f"{entry.name} ({sign} {bound:g})"
        for entry in config.tests
        if entry.name == "TestAccuracyScore"
        for sign, bound in entry.condition.items()
        if (sign == "gte" and share >= bound) or (sign == "gt" and share > bound)
    ]
    if share < MUCH and not passing:
        return
    yield f"  balance: who always answers {frequent} is right on {share:.1%} of the reference's labelled rows."
    if passing:
        yield f"    {passing[0]} passes with that alone: ask for more, or for TestRocAuc or TestLogLoss."
    yield from _advise_scores(config, frequent)


def _advise_scores(config: Config, frequent: str) -> Iterator[str]:
    model = config.model
    if model.binary:
        rare = next(name for name in model.categories if name != frequent)
        of = model.positive or model.categories[1]
        if of == frequent:
            yield f"    Precision, recall and F1 are those of {of}: for the rarer one set model.positive: {rare}."
    if config.retrain.metric == "accuracy":
        yield "    Candidates are compared by accuracy: retrain.metric roc_auc or log_loss tells them apart better."
    asked = {entry.name for entry in config.tests}
    if not asked & {"TestRocAuc", "TestLogLoss"}:
        needs = "" if model.scored else " (with model.probabilities: true)"
        yield f"    No test looks at the probabilities: TestRocAuc and TestLogLoss do{needs}."
