"""The variable `model`: of many models one is looked at, by the label that Prometheus gives the series of each.

Series of a single model's monitor have no such label, and the variable's value for all matches these too.
"""

import re

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import dashboard

MATCHER = 'model=~"$model"'
MODELS = "label_values(monitor_last_success_timestamp_seconds, model)"
# Of the stack, and of no model: the services', the servers' and Prometheus' own. `ALERTS` tells of both.
_OTHERS = re.compile(
    r"(api|prediction_log|labels_log|trigger|flow|upstream|prometheus|alertmanager|process|container)_.*"
)
_WORDS = {"and", "or", "unless", "bool", "offset", "up", "ALERTS", "Inf"}
_LABELS = r"\{(?:\"[^\"]*\"|`[^`]*`|[^\"`}])*\}"
_TOKEN = re.compile(
    r"\"[^\"]*\"|`[^`]*`|\[[^]]*\]"  # texts and ranges
    r"|\b(?:by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)"  # lists of labels
    r"|\b\d[\w.]*"
    r"|[a-z_0-9]+(?=\s*\(|\s+(?:by|without)\b)"  # functions and aggregations
    rf"|(?P<name>[a-zA-Z_:][\w:]*)?(?P<labels>{_LABELS})"
    r"|(?P<bare>[a-zA-Z_:][\w:]*)"
)


def of_model(expr: str) -> str:
    """Return a PromQL expression in which the series of models are those of the chosen one."""

    def chosen(match: re.Match[str]) -> str:
        name, labels = match["name"] or match["bare"] or "", match["labels"] or "{}"
        if not (name or match["labels"]) or name in _WORDS or _OTHERS.fullmatch(name):
            return match[0]
        inside = labels[1:-1]
        return f"{name}{{{inside}{',' if inside else ''}{MATCHER}}}"

    return _TOKEN.sub(chosen, expr)


def model_variable(datasource: dashboard.DataSourceRef) -> builders.QueryVariable:
    """Return the variable; without many models it has no values, and all is what there is."""
    everything = dashboard.VariableOption(text="All", value="$__all", selected=True)
    variable = builders.QueryVariable("model").label("Model").datasource(datasource).multi(True).include_all(True)
    variable.query({"query": MODELS, "refId": "model", "qryType": 1})
    variable.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(dashboard.VariableSort.NATURAL_ASC)
    return variable.current(everything).all_value(".*")
