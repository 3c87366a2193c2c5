"""Rows as they come: ties, missing and infinite values, signed zeros, constants, repetitions, unknown categories."""

from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from monitoring.contract.config import Config
from monitoring.profile.profile import Profile

MOSTLY_FEW = st.one_of(st.integers(1, 40), st.integers(1, 400), st.integers(1, 5_000))
CATEGORIES = ("a", "b", "c", "", "new")
LEVELS = ("", "0", "1", "true", "JFK", "<b>x</b>", "né", "no", "yes", *(f"zone {n}" for n in range(40)))


@st.composite
def columns(draw: st.DrawFn, rows: int, random: np.random.Generator) -> np.ndarray[Any, Any]:
    """Draw one feature: its shape by hypothesis, its values by a generator that hypothesis seeds."""
    shape = draw(st.sampled_from(["normal", "ties", "constant", "integers", "wide"]))
    shift = draw(st.sampled_from([0.0, 0.0, 0.1, 3.0]))
    values = {
        "normal": lambda: random.normal(shift, 1, rows),
        "ties": lambda: np.round(random.normal(shift, 1, rows), 1),
        "constant": lambda: np.full(rows, 2.0 + shift),
        "integers": lambda: random.integers(-3, 4, rows) + np.round(shift),
        "wide": lambda: random.normal(shift, 1, rows) * 10.0 ** random.integers(-9, 9, rows),
    }[shape]()
    for special, share in draw(
        st.dictionaries(
            st.sampled_from([np.nan, np.inf, -np.inf, -0.0, 0.0]), st.sampled_from([0.01, 0.2, 1.0]), max_size=2
        )
    ).items():
        values[random.random(rows) < share] = special
    return values.astype(draw(st.sampled_from(["float32", "float64"])))


@st.composite
def levels(draw: st.DrawFn, rows: int, random: np.random.Generator) -> np.ndarray[Any, Any]:
    """Draw one categorical feature: some levels, unevenly often, and sometimes missing."""
    known = draw(st.lists(st.sampled_from(LEVELS), min_size=1, max_size=draw(st.sampled_from([2, 5, 30])), unique=True))
    shares = random.dirichlet(np.full(len(known), 2.0))
    values = random.choice(np.array(known, object), rows, p=shares)
    values[random.random(rows) < draw(st.sampled_from([0.0, 0.0, 0.1, 1.0]))] = None
    return values


def _answers(draw: st.DrawFn, config: Config, count: int, random: np.random.Generator) -> dict[str, Any]:
    """Draw predictions and labels: categories, or numbers whose errors are of any size and sometimes none."""
    model = config.model
    if model.task == "regression":
        predictions = draw(columns(count, random))
        errors = random.normal(draw(st.sampled_from([0, 0.5])), draw(st.sampled_from([0, 1e-3, 1, 1e3])), count)
        labels = predictions + errors
        labels[random.random(count) < draw(st.sampled_from([0.0, 0.1]))] = 0.0
        return {model.prediction: predictions, model.target: np.abs(labels) if draw(st.booleans()) else labels}
    known = draw(st.lists(st.sampled_from([*model.categories, *CATEGORIES]), min_size=1, max_size=4))
    predictions = random.choice(np.array(known, object), count)
    labels = np.where(random.random(count) < 0.6, predictions, random.choice(np.array(known, object), count))
    return {model.prediction: predictions, model.target: labels}


@st.composite
def frames(draw: st.DrawFn, config: Config, rows: st.SearchStrategy[int] = MOSTLY_FEW) -> pd.DataFrame:
    """Draw rows of a model."""
    model, count = config.model, draw(rows)
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    kinds: dict[str, Any] = {"numeric": columns, "categorical": levels}
    data: dict[str, Any] = {name: draw(kinds[model.kind(name).name](count, random)) for name in model.features}
    for alike in (model.of_kind("numeric"), model.of_kind("categorical")):
        if alike and draw(st.booleans()):
            data[alike[-1]] = data[alike[0]].copy()
    answers = _answers(draw, config, count, random)
    frame = pd.DataFrame(data | answers).astype({name: object for name in answers if model.categories})
    for name in (model.prediction, model.target):
        frame.loc[random.random(count) < draw(st.sampled_from([0.0, 0.0, 0.1, 1.0])), name] = None
    if draw(st.booleans()):
        frame.loc[random.random(count) < 0.3, list(model.features)] = np.nan
    repeated = frame.iloc[random.integers(0, count, draw(st.integers(0, count)))]
    return pd.concat([frame, repeated], ignore_index=True)


def same_profile(ours: Profile, theirs: Profile) -> None:
    """Assert that two profiles say the same."""
    for field in fields(Profile):
        mine, other = getattr(ours, field.name), getattr(theirs, field.name)
        if field.name == "moments":
            _same_moments(mine, other)
        elif field.name == "distinct":
            assert len(mine) == len(other)
        elif isinstance(mine, np.ndarray):
            np.testing.assert_array_equal(mine, other, field.name)
        elif field.name != "grid":
            assert mine == other, field.name


def _same_moments(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> None:
    """Assert equality up to rounding, which is measured by the deviations that the sums are made of."""
    spread = np.sqrt(theirs[2])
    rounded = np.sqrt(theirs[0]) * 1e-15 * np.abs(theirs[1])  # what rounding makes of the deviations of constants
    np.testing.assert_array_equal(ours[0], theirs[0])
    assert (np.abs(ours[2] - theirs[2]) <= 1e-9 * theirs[2] + rounded**2).all()
    assert (np.abs(ours[1] - theirs[1]) <= 1e-9 * (spread + np.abs(theirs[1]))).all()
    of_constants = rounded * spread.T + spread * rounded.T + rounded * rounded.T
    assert (np.abs(ours[3] - theirs[3]) <= 1e-9 * spread * spread.T + of_constants).all()
