"""DataFrames of a model's rows: what Evidently's own engine reads, and what others hand in."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from monitoring.contract.config import Model


@dataclass(frozen=True)
class Frames:
    """The conformed reference and current rows."""

    reference: pd.DataFrame
    current: pd.DataFrame


def conform(data: pd.DataFrame, model: Model) -> pd.DataFrame:
    """Return the model's columns alone: numbers as float64, categories as text, an absent column as null.

    A feature that holds something else than numbers stays as it is, and counts as a type mismatch.
    """
    frame = data.reindex(columns=[*model.features, model.prediction, model.target]).reset_index(drop=True)
    for name in model.features:
        frame[name] = _numbers(frame[name])
    for name in (model.prediction, model.target):
        frame[name] = frame[name].map(str, na_action="ignore").astype(object).where(frame[name].notna(), None)
    return frame


def _numbers(column: pd.Series) -> pd.Series:
    if column.isna().all():
        return pd.Series(np.nan, index=column.index, dtype="float64")
    if _is_number(column):
        return column.astype("float64")
    return column.astype(object)


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def to_arrow(data: pd.DataFrame, model: Model) -> pa.Table:
    """Return the columns that a profile is made of; a feature that does not hold numbers becomes text.

    Of labels there is a column only where the data have one.
    """
    frame = conform(data, model)
    columns = {
        name: frame[name].to_numpy() if _is_number(frame[name]) else frame[name].map(str, na_action="ignore")
        for name in model.features
    }
    kept = [name for name in (model.prediction, model.target) if name in data]
    columns |= {name: pa.array(frame[name], pa.string()) for name in kept}
    if "confidence" in data and _is_number(data["confidence"]):
        columns["confidence"] = data["confidence"].to_numpy(dtype="float64")
    if "timestamp" in data:
        columns["timestamp"] = pa.array(data["timestamp"])
    return pa.table(columns)


def labelled_rows(frame: pd.DataFrame, model: Model) -> pd.DataFrame:
    """Return the rows that hold a prediction and its label."""
    return frame[frame[model.target].notna() & frame[model.prediction].notna()]
