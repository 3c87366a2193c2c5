"""Predictions and labels of a data set that the config does not name: another coding, or a typing error."""

from collections import Counter
from collections.abc import Iterator

from monitoring.contract.config import Model
from monitoring.contract.errors import DriftloopError
from monitoring.profile.profile import Profile

NAMED = 5


def told(model: Model, column: str, unknown: Counter[str]) -> str | None:
    """Say which values of a column are no categories, and in how many rows; None if there are none."""
    if not unknown:
        return None
    names = [name for name, _ in unknown.most_common(NAMED)]
    more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
    return (
        f"{column} holds {', '.join(names)}{more} in {unknown.total():,} rows; "
        f"the config's categories are {', '.join(model.categories)}"
    )


def unknown_in(profile: Profile) -> Iterator[str]:
    """Say of the predictions and the labels which are no categories; raise DriftloopError if all of a column are."""
    model = profile.grid.model
    labels: Counter[str] = Counter()
    for (target, _), number in profile.confusion.items():
        labels[target] += number
    for column, counts in ((model.prediction, profile.predictions), (model.target, labels)):
        unknown = Counter({name: n for name, n in counts.items() if name and name not in model.categories})
        if said := told(model, column, unknown):
            if unknown.total() == counts.total():
                raise DriftloopError(f"{said}: the rows do not fit the config")
            yield said
