"""The tests of probabilities, ROC AUC and log loss: which of them can run, and on what Evidently runs them.

Evidently takes either answers or probabilities for predictions, so that these tests are a suite of their own. Its own
engine is given the probabilities as profiles round them: both engines say the same.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
from evidently.legacy import tests as evidently_tests
from evidently.legacy.pipeline.column_mapping import ColumnMapping

from monitoring.contract.config import Config, Model, SuiteEntry
from monitoring.contract.suite_tests import OF_PROBABILITIES
from monitoring.contract.values import convert
from monitoring.profile.label_scores import UNKNOWN, ScoreCounts, read_cells, rounded
from monitoring.profile.profile import Profile
from monitoring.snapshot.snapshot import Verdict

LABEL = "label\n"  # which no category is called: names hold no control characters
AREA_TEST = "TestRocAuc"


def score_entries(config: Config) -> tuple[SuiteEntry, ...]:
    """Return the configured tests of probabilities."""
    return tuple(entry for entry in config.tests if entry.name in OF_PROBABILITIES)


def score_tests(config: Config, reference: Profile, current: Profile) -> dict[str, Any]:
    """Return Evidently's tests that can run."""
    skipped = {verdict.test for verdict in not_scored(config, reference, current)}
    entries = [entry for entry in score_entries(config) if entry.key not in skipped]
    return {entry.key: getattr(evidently_tests, entry.name)(**entry.condition) for entry in entries}


def not_scored(config: Config, reference: Profile, current: Profile) -> Iterator[Verdict]:
    """Yield the tests that cannot run, each with the reason."""
    for entry in score_entries(config):
        reason = _why_not(entry, config, reference.scores, current.scores)
        if reason is not None:
            yield Verdict(entry.key, "skipped", f"not run: {reason}")


def _why_not(entry: SuiteEntry, config: Config, reference: ScoreCounts, current: ScoreCounts) -> str | None:
    model, needed = config.model, config.minimum_labels
    if current.rows < needed:
        held = "the probabilities of all categories" if model.probabilities else "a confidence"
        return f"{current.rows:,} of {needed:,} labelled rows hold {held}"
    absent = current.absent(model) if entry.name == AREA_TEST else ()
    if absent:
        return f"no labelled row is {_listed(absent)}, and without all categories there is no area under the curve"
    if entry.condition:
        return None
    if not reference.rows:
        return "it has no condition, and the reference holds no probabilities to compare with; give it one"
    if entry.name == AREA_TEST and (missing := reference.absent(model)):
        return f"it has no condition, and no row of the reference is {_listed(missing)}; give it one"
    return None


def _listed(names: Sequence[str]) -> str:
    return " or ".join(names[:5]) + (f" or {len(names) - 5} more" if len(names) > 5 else "")  # noqa: PLR2004 - five


def score_mapping(model: Model) -> ColumnMapping:
    """Return what the columns of `score_frame` are to Evidently."""
    positive = model.scored[0] if len(model.scored) == 1 else None
    others = [name for name in model.categories if name != positive]
    return ColumnMapping(
        target=LABEL,
        prediction=others if positive is None else [positive, *others],
        datetime=None,
        numerical_features=[],
        task="classification",
        pos_label=positive,
    )


def score_frame(rows: pa.Table, model: Model) -> pd.DataFrame:
    """Return the labelled rows' categories and the probabilities of all, rounded to the profiles' grid.

    Rows count that `ScoreCounts` counts.
    """
    names = list(model.categories)
    if not model.scored or model.target not in rows.column_names:
        return pd.DataFrame({name: pd.Series(dtype="float64") for name in names} | {LABEL: pd.Series(dtype=object)})
    labels = convert(rows[model.target], pa.field(model.target, pa.string())).to_numpy().astype(object)
    cells = read_cells(rows, model)
    columns = {name: rounded(cells[:, place]) for place, name in enumerate(model.scored)}
    for name in set(names) - set(columns):  # the other one of two
        columns[name] = rounded(-cells[:, 0])
    frame = pd.DataFrame(columns)[names]
    frame[LABEL] = pd.Series(labels, dtype=object)
    kept: pd.DataFrame = frame[frame[LABEL].isin(names) & (cells[:, 0] != UNKNOWN)]
    return kept.reset_index(drop=True)
