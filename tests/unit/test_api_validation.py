"""Whatever arrives is either rows of finite numbers or a problem."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.problems import Problem, response
from api.tasks import TASKS
from api.validation import check_target, parse_instances, parse_labels
from monitoring.contract.config import Model
from monitoring.contract.kinds import LONGEST_LEVEL
from tests.unit.mixed import trips
from tests.unit.models import GENRES

MODEL = GENRES.model

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
number = st.floats() | st.integers() | st.none()
feature = st.sampled_from([*MODEL.features, "unknown", MODEL.target])
features = st.dictionaries(feature, number | anything, max_size=4)
body = st.one_of(
    anything,
    st.fixed_dictionaries({"features": features}, optional={MODEL.target: anything}),
    st.fixed_dictionaries({"instances": st.lists(features | anything, max_size=3)}),
)


def outcome(parse: Callable[[bytes, Model], Any], content: bytes, model: Model = MODEL) -> Any:
    """Return the rows, or the problem."""
    try:
        return parse(content, model)
    except Problem as problem:
        return problem


@settings(deadline=None)
@given(body)
def test_a_body_becomes_rows_or_a_client_error(content: Any) -> None:
    """Rows are float32-finite or missing, one per instance; everything else is a 4xx that can be rendered."""
    instances = outcome(parse_instances, json.dumps(content).encode())
    if isinstance(instances, Problem):
        assert 400 <= instances.status < 500
        assert response(instances).get_json()["detail"]
        return
    sent = [content] if instances.single else content["instances"]
    assert len(sent) == len(instances.values) == len(instances.targets)
    for item, values in zip(sent, instances.values, strict=True):
        given_features = item.get("features", item)
        assert values == [None if given_features.get(n) is None else float(given_features[n]) for n in MODEL.features]
        assert any(value is not None for value in values)
        assert all(value is None or math.isfinite(value) for value in values)
    with np.errstate(over="raise"):
        np.array(instances.values, dtype=np.float32)


@settings(deadline=None)
@given(st.binary(max_size=30))
def test_any_bytes_are_rows_or_a_client_error(content: bytes) -> None:
    """No bytes make the parser fail in a way of its own."""
    for parse in (parse_instances, parse_labels):
        found = outcome(parse, content)
        assert not isinstance(found, Problem) or 400 <= found.status < 500


@settings(deadline=None)
@given(anything | st.lists(st.fixed_dictionaries({"prediction_id": anything, MODEL.target: anything}), max_size=3))
def test_labels_are_strings_of_the_config_or_a_client_error(content: Any) -> None:
    """A label without a problem has an id that is text and one of the categories."""
    labels = outcome(parse_labels, json.dumps(content).encode())
    if isinstance(labels, Problem):
        assert 400 <= labels.status < 500
        return
    fit = [label for label in labels if label.problem is None]
    assert all(isinstance(label.prediction_id, str) and label.target in MODEL.categories for label in fit)


TRIPS = trips().model
level = anything | st.text(max_size=200) | st.integers()
trip = st.dictionaries(st.sampled_from([*TRIPS.features, "unknown", TRIPS.target]), level, max_size=5)
trip_body = st.one_of(
    st.fixed_dictionaries({"features": trip}, optional={TRIPS.target: level}),
    st.fixed_dictionaries({"instances": st.lists(trip | anything, max_size=3)}),
)


@settings(deadline=None)
@given(trip_body)
def test_levels_are_text_or_a_client_error(content: Any) -> None:
    """Numbers are finite, levels short texts that can be written, a regression's labels numbers; the rest is a 4xx."""
    found = outcome(parse_instances, json.dumps(content).encode(), TRIPS)
    if isinstance(found, Problem):
        assert 400 <= found.status < 500
        assert response(found).get_json()["detail"]
        return
    for distance, passengers, *levels in found.values:
        assert all(value is None or math.isfinite(value) for value in (distance, passengers))
        assert all(value is None or 0 < len(value.encode().decode()) <= LONGEST_LEVEL for value in levels)
    assert all(label is None or math.isfinite(label) for label in found.targets)


@pytest.mark.parametrize(
    ("text", "label"), [("11.5", 11.5), ("-3", -3.0), ("eleven", None), ("true", None), ("1e999", None)]
)
def test_a_form_has_a_number_as_text(text: str, label: float | None) -> None:
    """As it comes with a clip; what is none is refused by name."""
    sent = TASKS["regression"].label_of_text(text)
    if label is not None:
        assert check_target(sent, TRIPS, "minutes") == label
        return
    with pytest.raises(Problem, match="minutes: must be a finite number"):
        check_target(sent, TRIPS, "minutes")


@settings(deadline=None)
@given(st.lists(st.fixed_dictionaries({"prediction_id": st.text(max_size=3), TRIPS.target: level}), min_size=1))
def test_labels_of_a_regression_are_numbers_or_problems(content: Any) -> None:
    """Each for itself."""
    found = outcome(parse_labels, json.dumps(content).encode(), TRIPS)
    assert all(label.problem is not None or math.isfinite(label.target) for label in found)
