"""What the API's answers and labels are, by task, and how its description has them.

One class says it for each task; `TASKS` has them by the names of `monitoring.contract.tasks`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from api.kinds import LARGEST, Schema
from api.problems import shown, unprocessable
from monitoring.contract.categories import category_text
from monitoring.contract.config import Model
from monitoring.contract.onnx.answers import Given, Predicted
from monitoring.contract.probabilities import TOLERANCE
from monitoring.contract.tasks import TaskName

Answer = tuple[str | float, float | None, dict[str, Any]]  # prediction, confidence, and the fields that tell them

Shares = tuple[float | None, ...]  # of all categories, in the config's order, where the log has them


class RequestTask(Protocol):
    """What depends on the task in requests and answers."""

    def answers(
        self, model: Model, classes: Sequence[str], predicted: Predicted, probabilities: Given
    ) -> Iterator[Answer]:
        """Yield each row's answer."""

    def logged(self, model: Model, fields: Mapping[str, Any]) -> Sequence[float]:
        """Return the probabilities that the log holds of an answer with these fields."""

    sent_besides: tuple[str, ...]  # fields that only this task's rows have in `POST /log`

    def sent_shares(
        self, model: Model, row: Mapping[str, Any], prediction: str | float, confidence: float | None, at: str
    ) -> tuple[float | None, Shares]:
        """Return confidence and probabilities of a row of `POST /log` as they are logged; raise its Problem."""

    def sent_schema(self, model: Model) -> Schema:
        """Describe these fields."""

    def unfit_label(self, value: Any, model: Model, at: str) -> tuple[str, str, str]:
        """Return reason, field and detail of the problem of a label that is none."""

    def label_of_text(self, text: str) -> Any:
        """Return the label that a form has as text."""

    def answer_schema(self, model: Model) -> Schema:
        """Describe the fields of an answer that tell the prediction."""

    def label_schema(self, model: Model) -> Schema:
        """Describe a label."""

    def label_example(self, model: Model) -> str | float:
        """Return a label."""


class ClassificationRequest:
    """A category, how probable it is, and how probable the others are."""

    sent_besides: tuple[str, ...] = ("probabilities",)

    def answers(
        self, model: Model, classes: Sequence[str], predicted: Predicted, probabilities: Given
    ) -> Iterator[Answer]:
        """Yield each row's category, its probability, and all probabilities."""
        for category, row in zip(predicted.tolist(), probabilities.tolist(), strict=True):
            shares = dict(zip(classes, row, strict=True))
            confidence = shares[category]
            yield category, confidence, {model.label: category, "confidence": confidence, "probabilities": shares}

    def logged(self, model: Model, fields: Mapping[str, Any]) -> Sequence[float]:
        """Return the probabilities of all categories where the config asks for them; 0 of one the model never saw."""
        if not model.probabilities:
            return ()
        shares = fields["probabilities"]
        return [shares.get(category, 0.0) for category in model.categories]

    def sent_shares(
        self, model: Model, row: Mapping[str, Any], prediction: str | float, confidence: float | None, at: str
    ) -> tuple[float | None, Shares]:
        """Return both; the confidence is the prediction's probability where it was not sent itself."""
        shares = row.get("probabilities")
        if shares is None:
            return confidence, (None,) * len(model.probability_columns)
        at = f"{at}.probabilities"
        if not isinstance(shares, dict):
            raise unprocessable("not_an_object", at, f"must be an object of categories, or null, not {shown(shares)}")
        for category, share in shares.items():
            if category not in model.categories:
                raise unprocessable(*self.unfit_label(category, model, f"{at}.{category}"))
            if type(share) not in (int, float) or not 0 <= share <= 1:
                raise unprocessable("not_a_share", f"{at}.{category}", f"must be from 0 to 1, not {shown(share)}")
        if abs(sum(shares.values()) - 1) > TOLERANCE:
            raise unprocessable("not_a_share", at, f"sum to {sum(shares.values()):.4g}; they must sum to 1")
        if confidence is None:
            confidence = float(shares.get(prediction, 0.0))
        return confidence, tuple(float(share) for share in self.logged(model, row))

    def sent_schema(self, model: Model) -> Schema:
        """Describe the probabilities, which may be absent."""
        shares = {name: {"type": "number", "minimum": 0, "maximum": 1} for name in model.categories}
        return {
            "probabilities": {
                "type": ["object", "null"],
                "properties": shares,
                "additionalProperties": False,
                "description": "they sum to 1; a category that is absent has 0",
            }
        }

    def unfit_label(self, value: Any, model: Model, at: str) -> tuple[str, str, str]:
        """Return that it is no category."""
        detail = f"{shown(value)} is not a {model.label}; there are {', '.join(model.categories)}"
        return "unknown_category", at, detail

    def label_of_text(self, text: str) -> Any:
        """Return the text."""
        return text

    def answer_schema(self, model: Model) -> Schema:
        """Describe category, confidence and probabilities."""
        shares = {name: {"type": "number"} for name in model.categories}
        return {
            model.label: {"type": "string", "enum": list(model.categories)},
            "confidence": {"type": "number", "minimum": 0, "maximum": 1},
            "probabilities": {"type": "object", "properties": shares, "required": [], "additionalProperties": False},
        }

    def label_schema(self, model: Model) -> Schema:
        """Describe a category, or the number or the boolean that is called so."""
        bare = [_bare(name) for name in model.categories]
        return {"enum": [*model.categories, *(value for value in bare if value is not None)]}

    def label_example(self, model: Model) -> str | float:
        """Return the first category."""
        return model.categories[0]


class RegressionRequest:
    """A number alone: nothing says how sure it is."""

    sent_besides: tuple[str, ...] = ()

    def answers(
        self,
        model: Model,
        classes: Sequence[str],  # noqa: ARG002 - there are none
        predicted: Predicted,
        probabilities: Given,  # noqa: ARG002
    ) -> Iterator[Answer]:
        """Yield each row's number."""
        for number in predicted.tolist():
            yield number, None, {model.prediction: number}

    def logged(self, model: Model, fields: Mapping[str, Any]) -> Sequence[float]:  # noqa: ARG002
        """Return nothing: a number has no probability."""
        return ()

    def sent_shares(
        self,
        model: Model,  # noqa: ARG002
        row: Mapping[str, Any],  # noqa: ARG002
        prediction: str | float,  # noqa: ARG002
        confidence: float | None,
        at: str,  # noqa: ARG002
    ) -> tuple[float | None, Shares]:
        """Return the confidence as it was sent."""
        return confidence, ()

    def sent_schema(self, model: Model) -> Schema:  # noqa: ARG002
        """Describe nothing."""
        return {}

    def unfit_label(self, value: Any, model: Model, at: str) -> tuple[str, str, str]:  # noqa: ARG002
        """Return that it is no finite number."""
        return "not_a_number", at, f"must be a finite number, or null while it is not known, not {shown(value)}"

    def label_of_text(self, text: str) -> Any:
        """Return the number that a text is, or the text, which is none."""
        try:
            return float(text)
        except ValueError:
            return text

    def answer_schema(self, model: Model) -> Schema:
        """Describe the number."""
        return {model.prediction: {"type": "number"}}

    def label_schema(self, model: Model) -> Schema:  # noqa: ARG002
        """Describe a finite number."""
        return {"type": "number", "minimum": -LARGEST["float64"], "maximum": LARGEST["float64"]}

    def label_example(self, model: Model) -> str | float:  # noqa: ARG002
        """Return a number."""
        return 0.0


TASKS: dict[TaskName, RequestTask] = {
    "classification": ClassificationRequest(),
    "regression": RegressionRequest(),
}


def _bare(category: str) -> int | bool | None:
    for value in (True, False):
        if category_text(value) == category:
            return value
    number = int(category) if re.fullmatch("-?[0-9]{1,18}", category) else None
    return number if number is not None and category_text(number) == category else None
