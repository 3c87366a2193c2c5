"""DataFrames of a model's rows: what Evidently's own engine reads, and what others hand in."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from monitoring.contract.categories import value_text
from monitoring.contract.config import Model
from monitoring.contract.schemas import compared_fields, reference_schema
from monitoring.contract.values import UnfitColumnError, convert, is_text
from monitoring.profile.label_errors import scorable
from monitoring.suite.score_tests import score_frame


@dataclass(frozen=True)
class Frames:
    """The conformed reference and current rows, predictions beside labels, and of labelled rows the probabilities."""

    reference: pd.DataFrame
    current: pd.DataFrame
    reference_answers: pd.DataFrame
    current_answers: pd.DataFrame
    reference_scores: pd.DataFrame
    current_scores: pd.DataFrame

    @classmethod
    def of(cls, reference: pa.Table, current: pa.Table, model: Model) -> "Frames":
        """Make the frames of two tables; numbers of both are rounded to the reference's types, but for answers."""
        both, compared = (reference, current), compared_fields(reference.schema, model)
        answers = [pa.field(name, model.rules.values) for name in (model.prediction, model.target)]
        return cls(
            *(frame_of(rows, compared, text=model.features) for rows in both),
            *(labelled_rows(frame_of(rows, answers), model) for rows in both),
            *(score_frame(rows, model) for rows in both),
        )


def to_arrow(data: pd.DataFrame, model: Model) -> pa.Table:
    """Return the columns that a profile is made of, as pandas would write them to a file.

    A column of objects that are of no one type becomes text. Raise UnfitColumnError for a column that stands twice.
    """
    wanted = [*reference_schema(model).names, "confidence", "timestamp", *model.probability_columns]
    return pa.table({name: _array(data, name) for name in wanted if name in data.columns})


def _array(data: pd.DataFrame, name: str) -> pa.Array:
    column = data[name]
    if isinstance(column, pd.DataFrame):
        raise UnfitColumnError(f"column {name} stands more than once")
    try:
        return pa.array(column, from_pandas=True)
    except pa.ArrowException:
        return pa.array(column.map(_text, na_action="ignore"), from_pandas=True)


def _text(value: Any) -> str:
    """Return a value's text, of true, false and whole numbers the one that files give."""
    try:
        return value_text(value)
    except ValueError:
        return str(value)


def frame_of(rows: pa.Table, fields: Iterable[pa.Field], *, text: Collection[str] = ()) -> pd.DataFrame:
    """Return these columns alone: numbers as float64, categories as text, an absent column as null.

    One of numbers that may be `text`, and is, stays so, and counts as a type mismatch.
    """
    columns = {}
    for field in fields:
        column = rows[field.name] if field.name in rows.column_names else pa.chunked_array([pa.nulls(len(rows))])
        if pa.types.is_floating(field.type) and not (is_text(column.type) and field.name in text):
            columns[field.name] = pd.Series(convert(column, field).cast(pa.float64()).to_numpy())
        else:
            texts = convert(column, field.with_type(pa.string())).to_numpy()
            columns[field.name] = pd.Series(texts, dtype=object)
    return pd.DataFrame(columns)


def labelled_rows(frame: pd.DataFrame, model: Model) -> pd.DataFrame:
    """Return the rows that hold a prediction and its label, from which a score can be computed."""
    predictions, labels = frame[model.prediction], frame[model.target]
    if model.kind(model.target).name == "numeric":
        return frame[scorable(predictions.to_numpy(), labels.to_numpy())]
    return frame[labels.notna() & predictions.notna()]
