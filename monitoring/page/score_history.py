"""How good the model was over the last day, asked of Prometheus when somebody looks at the page."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import requests
from pydantic import BaseModel, ValidationError

from monitoring.contract.logins import Login
from monitoring.contract.tasks import TaskName
from monitoring.page.remembered import TIMEOUT, Remembered

DAY, HOUR = 86_400, 3_600
POINTS = 240  # of a line
FEW = 12  # points: a stack that has run for less than an hour is drawn over that
_LIFETIME = 15.0  # seconds
# of each task: what is drawn, what it is held to
SCORES: dict[TaskName, tuple[str, str]] = {
    "classification": ("model_accuracy", "accuracy_floor"),
    "regression": ("model_mae", "loss_ceiling"),
}

Point = tuple[float, float]  # seconds since 1970, and a value


class _Series(BaseModel):
    values: list[Point]


class _Data(BaseModel):
    result: list[_Series]


class _Answer(BaseModel):
    data: _Data


@dataclass(frozen=True)
class ScoreHistory:
    """A score over some hours and what it was held to, each in lines without gaps; or why it cannot be said."""

    begin: float = 0.0
    end: float = 0.0
    score: tuple[tuple[Point, ...], ...] = ()
    held_to: tuple[tuple[Point, ...], ...] = ()
    problem: str | None = None

    @property
    def span(self) -> tuple[float, float]:
        """Return the least and the greatest value."""
        values = [value for line in (*self.score, *self.held_to) for _, value in line]
        return min(values), max(values)


class ScoreReader:
    """Asks Prometheus for a task's score, at most once in a quarter of a minute."""

    def __init__(self, url: str, task: TaskName, login: Login | None = None, model: str | None = None) -> None:
        """Of many models', ask for the score of the `model`."""
        self._login, self._of = login, "" if model is None else f'{{model="{model}"}}'
        self._url, self._names = f"{url.rstrip('/')}/api/v1/query_range", SCORES[task]
        self._seen = Remembered(self._ask, ScoreHistory(problem="Prometheus has not said yet how it was"), _LIFETIME)

    def read(self) -> ScoreHistory:
        """Return the score over the last day, or over the last hour where there is no more."""
        return self._seen.read()

    def _ask(self) -> ScoreHistory:
        try:
            found = self._over(DAY)
            return found if sum(map(len, found.score)) >= FEW else self._over(HOUR)
        except (requests.RequestException, ValidationError) as error:
            return ScoreHistory(problem=f"Prometheus cannot say how it was: {type(error).__name__} at {self._url}")

    def _over(self, seconds: int) -> ScoreHistory:
        end = time.time()
        step = seconds / POINTS
        span = {"start": end - seconds, "end": end, "step": step}
        score, held_to = (self._lines({"query": f"max({name}{self._of})", **span}, step) for name in self._names)
        return ScoreHistory(end - seconds, end, score, held_to)

    def _lines(self, query: dict[str, str | float], step: float) -> tuple[tuple[Point, ...], ...]:
        answer = requests.get(self._url, params=query, auth=self._login, timeout=TIMEOUT)
        answer.raise_for_status()
        found = _Answer.model_validate_json(answer.content).data.result
        points = [point for series in found for point in series.values if math.isfinite(point[1])]
        return _without_gaps(points, 1.5 * step)


def _without_gaps(points: Sequence[Point], most: float) -> tuple[tuple[Point, ...], ...]:
    """Divide points, in the order of their times, where more than `most` seconds lie between two."""
    lines: list[list[Point]] = []
    for point in points:
        if not lines or point[0] - lines[-1][-1][0] > most:
            lines.append([])
        lines[-1].append(point)
    return tuple(map(tuple, lines))
