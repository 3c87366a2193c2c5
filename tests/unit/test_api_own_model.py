"""The API with models that users have brought: what it answers, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest

from api.model import Release, save_copy
from tests.unit.api_fixtures import running, settings
from tests.unit.models import write_config
from tests.unit.own_models import FEATURES, converted, named, per_column, rows_of, train

NUMBERS = train((0, 1))
KNOWN = {"classes": ["red", "white"]}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(named(converted(NUMBERS), **KNOWN), id="integer labels"),
        pytest.param(named(converted(NUMBERS, zipmap=True), **KNOWN), id="maps"),
        pytest.param(named(per_column()[0]), id="an input per column"),
    ],
)
def test_a_users_model_answers_in_the_configs_categories(tmp_path: Path, content: bytes) -> None:
    """Its own predictions, by the names that the config gives."""
    save_copy(tmp_path / "_model", "wine", Release("1", 1), content)
    rows = rows_of(20)
    with running(settings(tmp_path, write_config(tmp_path))) as app:
        instances = [dict(zip(FEATURES, map(float, row), strict=True)) for row in rows]
        answer = app.test_client().post("/predict", json={"instances": instances})
        about = app.test_client().get("/model").json
    assert answer.status_code == 200
    colours = [KNOWN["classes"][label] for label in NUMBERS.predict(rows)]
    assert [one["colour"] for one in answer.json["predictions"]] == colours
    shares = [one["probabilities"]["white"] for one in answer.json["predictions"]]
    np.testing.assert_allclose(shares, NUMBERS.predict_proba(rows)[:, 1], atol=0.02)
    assert about["categories"] == ["red", "white"]


def test_a_missing_value_that_the_model_needs_is_refused_by_name(tmp_path: Path) -> None:
    """As null or left out, alone or in a batch; nothing of the request is logged, and complete rows are answered."""
    save_copy(tmp_path / "_model", "wine", Release("1", 1), named(converted(NUMBERS), **KNOWN))
    whole = dict.fromkeys(FEATURES, 0.5)
    with running(settings(tmp_path, write_config(tmp_path))) as app:
        client = app.test_client()
        assert client.post("/predict", json={"features": whole}).status_code == 200
        one = client.post("/predict", json={"features": {**whole, "sugar": None}})
        batch = client.post("/predict", json={"instances": [whole, {"acidity": 1.0, "sugar": 2.0}]})
    assert (one.status_code, one.json["reason"], one.json["field"]) == (422, "no_finite_answer", "features")
    assert "this model has no answer without a value of sugar" in one.json["detail"]
    assert (batch.status_code, batch.json["field"]) == (422, "instances[1]")
    assert "without a value of alcohol, density" in batch.json["detail"]
