"""Requests and responses of model servers as rows: the open inference protocol (v2), and v1's instances, predictions.

A tensor of one value a row is a column of its name; one of several values a row has the features, or the categories'
probabilities, in the config's order.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from api.problems import Problem, shown, unprocessable
from api.validation import MAX_INSTANCES, as_object, too_many
from monitoring.contract.config import Model
from monitoring.contract.onnx.decision import decide
from monitoring.contract.tasks import TaskName

_MOST_DIMENSIONS = 8

Row = dict[str, Any]


@dataclass(frozen=True)
class _Tensor:
    """Values (n, width) of one name."""

    name: str
    rows: list[list[Any]]

    @property
    def width(self) -> int:
        return len(self.rows[0])


def requested(content: dict[str, Any], model: Model) -> list[Row]:
    """Return the features of each row of a request, by name; raise the Problem that says what cannot be used."""
    if "inputs" in content:
        return _from_tensors(_tensors(content["inputs"], "inputs"), model)
    rows = _list(content.get("instances"), "instances")
    return [_features(row, f"instances[{n}]", model) for n, row in enumerate(rows)]


def answered(content: dict[str, Any], model: Model) -> list[Row]:
    """Return what was answered for each row of a request, as fields of a row of `POST /log`."""
    version = content.get("model_version")
    of_all = {"model_version": version if isinstance(version, str | int) else None}
    return [{**answer, **of_all} for answer in _answers(content, model)]


def _answers(content: dict[str, Any], model: Model) -> list[Row]:
    if "outputs" in content:
        tensors = _tensors(content["outputs"], "outputs")
    else:
        given = _list(content.get("predictions"), "predictions")
        if all(isinstance(row, dict) and model.prediction in row for row in given):
            return [{model.prediction: row[model.prediction]} for row in given]
        rows = [row if isinstance(row, list) else [row] for row in given]
        tensors = [_Tensor("predictions", _even(rows, "predictions"))]
    return _ANSWERS[model.task](tensors, model)


def _list(value: Any, at: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise unprocessable("not_a_list", at, f"must be a list that is not empty, not {shown(value)}")
    if len(value) > MAX_INSTANCES:
        raise too_many(at, MAX_INSTANCES)
    return value


def _tensors(given: Any, at: str) -> list[_Tensor]:
    tensors = [_tensor(as_object(one, f"{at}[{n}]"), f"{at}[{n}]") for n, one in enumerate(_list(given, at))]
    if len({len(tensor.rows) for tensor in tensors}) > 1:
        raise unprocessable("shape", at, "have different numbers of rows")
    return tensors


def _tensor(given: dict[str, Any], at: str) -> _Tensor:
    shape, name = given.get("shape"), given.get("name")
    if not isinstance(name, str):
        raise unprocessable("missing_field", f"{at}.name", "is missing")
    if not isinstance(shape, list) or not 0 < len(shape) <= _MOST_DIMENSIONS or not all(map(_is_size, shape)):
        detail = f"must be a list of 1 to {_MOST_DIMENSIONS} whole numbers from 1, not {shown(shape)}"
        raise unprocessable("shape", f"{at}.shape", detail)
    values = given.get("data")
    if values is None:
        raise unprocessable("missing_field", f"{at}.data", "is missing; tensors beside the JSON are not read")
    for _ in shape[1:]:
        if isinstance(values, list) and values and all(isinstance(value, list) for value in values):
            values = list(chain.from_iterable(values))
    if not isinstance(values, list) or len(values) != math.prod(shape):
        raise unprocessable("shape", f"{at}.data", "does not have as many values as its shape says")
    if shape[0] > MAX_INSTANCES:
        raise too_many(f"{at}.data", MAX_INSTANCES)
    width = math.prod(shape[1:])
    return _Tensor(name, [values[begin : begin + width] for begin in range(0, len(values), width)])


def _is_size(value: Any) -> bool:
    return type(value) is int and value > 0


def _even(rows: list[list[Any]], at: str) -> list[list[Any]]:
    if len({len(row) for row in rows}) > 1 or not rows[0]:
        raise unprocessable("shape", at, "must each have as many values as the others, one at least")
    return rows


def _from_tensors(tensors: Sequence[_Tensor], model: Model) -> list[Row]:
    first = tensors[0]
    if len(tensors) == 1 and first.width == len(model.features) and first.name not in model.features:
        return [_features(row, first.name, model) for row in first.rows]
    for tensor in tensors:
        if tensor.name not in model.features:
            detail = f"is no feature; there are {', '.join(model.features)}"
            raise unprocessable("unknown_feature", f"inputs.{tensor.name}", detail)
        if tensor.width > 1:
            raise unprocessable("shape", f"inputs.{tensor.name}", f"has {tensor.width} values a row; a feature has one")
    columns = [(tensor.name, [row[0] for row in tensor.rows]) for tensor in tensors]
    return [_features({name: values[n] for name, values in columns}, "inputs", model) for n in range(len(first.rows))]


def _features(row: Any, at: str, model: Model) -> Row:
    """Return one row's features by name; true and false are 1 and 0 where numbers are due."""
    if not isinstance(row, dict):
        values = row if isinstance(row, list) else [row]
        if len(values) != len(model.features):
            raise unprocessable("shape", at, f"has {len(values)} values; there are {len(model.features)} features")
        row = dict(zip(model.features, values, strict=True))
    numeric = model.of_kind("numeric")
    return {name: int(value) if isinstance(value, bool) and name in numeric else value for name, value in row.items()}


def _numbers(tensors: Sequence[_Tensor], model: Model) -> list[Row]:
    """Return a regression's answers: the output of the prediction's name, or the only one."""
    found = [tensor for tensor in tensors if tensor.name == model.prediction] or tensors
    if len(found) > 1 or found[0].width > 1:
        raise _unclear(tensors, f"one number a row, in an output called {model.prediction} if there are several")
    return [{model.prediction: row[0]} for row in found[0].rows]


def _categories(tensors: Sequence[_Tensor], model: Model) -> list[Row]:
    """Return a classification's answers, from an output of categories, or of probabilities, or both."""
    labels = next((t for t in tensors if t.width == 1 and _all_in(model, t.rows)), None)
    shares = next((t.rows for t in tensors if t.width == len(model.categories) and _are_shares(t.rows)), None)
    if shares is None and labels is None and model.positive is not None and tensors[0].width == 1:
        if not _are_shares(tensors[0].rows):
            raise _unclear(tensors, "categories or probabilities")
        at = model.categories.index(model.positive)
        shares = [[1 - p, p] if at else [p, 1 - p] for (p,) in tensors[0].rows]
    if shares is None:
        if labels is None:
            raise _unclear(tensors, f"categories ({', '.join(model.categories)}), or their probabilities in that order")
        return [{model.prediction: row[0]} for row in labels.rows]
    decided = _decided(shares, model) if labels is None else [row[0] for row in labels.rows]
    return [
        {model.prediction: prediction, "probabilities": dict(zip(model.categories, row, strict=True))}
        for prediction, row in zip(decided, shares, strict=True)
    ]


def _all_in(model: Model, rows: list[list[Any]]) -> bool:
    try:
        for row in rows:
            model.rules.parse(row[0], model.categories)
    except ValueError:
        return False
    return True


def _are_shares(rows: list[list[Any]]) -> bool:
    return all(type(value) in (int, float) and 0 <= value <= 1 for row in rows for value in row)


def _decided(shares: list[list[float]], model: Model) -> list[str]:
    """Return the category that each row's probabilities are answered with."""
    places = decide(np.array(shares, np.float64), model.categories, model)
    return [model.categories[place] for place in places]


def _unclear(tensors: Sequence[_Tensor], due: str) -> Problem:
    found = ", ".join(f"{tensor.name} ({tensor.width} a row)" for tensor in tensors)
    return unprocessable("unclear_answer", "outputs", f"are {found}; what is due is {due}")


_ANSWERS: dict[TaskName, Callable[[Sequence[_Tensor], Model], list[Row]]] = {
    "classification": _categories,
    "regression": _numbers,
}
