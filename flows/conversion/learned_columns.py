"""What an estimator has learned its columns as: their names, and the levels that its encoders know.

A pickle does not tell the types of the data frame that an estimator was fitted on. Its encoders do: the levels that
they know are texts, numbers or booleans, and a missing one is None or NaN. The log knows levels as texts, which are
given back in the form that was learned.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline

from monitoring.contract.categories import value_text

Levels = npt.NDArray[Any]


def encoders(estimator: Any, names: Sequence[str]) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Yield the steps that see columns as they come, each with their names: encoders, and imputers before them."""
    if isinstance(estimator, Pipeline):
        for _, step in estimator.steps:
            yield from encoders(step, names)
            if not isinstance(step, SimpleImputer) and step != "passthrough":
                return
    elif isinstance(estimator, ColumnTransformer):
        places = estimator._transformer_to_input_indices  # noqa: SLF001 - by names, masks and slices alike
        for name, step, _ in estimator.transformers_:
            yield from encoders(step, [names[place] for place in places.get(name, ())])
    elif hasattr(estimator, "best_estimator_"):
        yield from encoders(estimator.best_estimator_, names)
    elif hasattr(estimator, "categories_") or isinstance(estimator, SimpleImputer):
        yield estimator, tuple(names)


def learned_levels(estimator: Any, names: Sequence[str]) -> Mapping[str, Levels]:
    """Return the levels that encoders know by the name of their column."""
    found: dict[str, Levels] = {}
    for step, columns in encoders(estimator, names):
        if hasattr(step, "categories_") and len(step.categories_) == len(columns):
            found |= dict(zip(columns, step.categories_, strict=True))
    return found


def level_text(level: Any) -> str:
    """Return the text that a model is given for a level: the empty one for a missing level."""
    if level is None or level != level:  # noqa: PLR0124 - NaN alone differs from itself
        return ""
    return value_text(level.item() if isinstance(level, np.generic) else level)


def tell_texts(estimator: Any, names: Sequence[str], texts: frozenset[str]) -> None:
    """Have an estimator's encoders and imputers know these columns' levels by the texts that models are given.

    The estimator is changed: its answers to data frames are others then.
    """
    for step, columns in encoders(estimator, names):
        if not isinstance(step, SimpleImputer):
            if len(step.categories_) == len(columns):  # some of them may be numbers
                step.categories_ = [
                    np.array([level_text(one) for one in known], object) if name in texts else known
                    for name, known in zip(columns, step.categories_, strict=True)
                ]
        elif set(columns) <= texts:
            step.missing_values = ""
            step.statistics_ = np.array([level_text(one) for one in step.statistics_], object)
