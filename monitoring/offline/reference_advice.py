"""Advice on a reference that is no error and will be trouble: levels that never come again, labels that are all one."""

from collections.abc import Iterator

import pyarrow as pa

from monitoring.contract.config import Config
from monitoring.contract.reference import Reference

OFTEN_NEW = 0.2  # of later rows, with a level that the reference does not hold
MISSING_ALERT = 100  # missing values in a window, above which the rule DataQualityIssue fires


def advise_of_reference(reference: Reference, config: Config) -> Iterator[str]:
    """Yield lines on categories that are ids, on labels that do not vary, and on missing values that are usual."""
    table, model = reference.table, config.model
    for name in model.of_kind("categorical"):
        values = table[name].drop_null()
        counts = values.value_counts().field("counts").to_pylist()
        once = counts.count(1)
        share = once / max(1, len(values))  # what comes once is as frequent as what is new (Good 1953)
        if share > OFTEN_NEW:
            yield (
                f"  levels: {once:,} of the {len(counts):,} levels of {name} come once, so about {share:.0%} of later "
                "rows have one that is new: an id tells a model nothing. Leave it out, or group rare levels."
            )
    labels = table[model.target].drop_null()
    found = labels.unique()
    if len(labels) and len(found) == 1:
        yield f"  labels: all are {found[0].as_py()}: nothing can be learned, and no score tells models apart."
    elif absent := [name for name in model.categories if name not in found.to_pylist()] if len(labels) else []:
        yield f"  labels: none is {', '.join(absent)}: nothing is known of such rows."
    if config.window.rows is not None and len(table):
        usual = _missing(table.select(model.features)) * config.window.rows
        if usual > MISSING_ALERT / 2:
            yield (
                f"  missing: a window of {config.window.rows:,} rows like the reference's misses about {usual:,.0f} "
                f"values, and the rule DataQualityIssue fires above {MISSING_ALERT}: raise it in "
                "monitoring/alert_rules. missing_p_value tells whether more are missing than in the reference."
            )


def _missing(features: pa.Table) -> float:
    """Return how many values a row lacks on average."""
    return sum(int(column.null_count) for column in features.columns) / len(features)
