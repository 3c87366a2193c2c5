"""POST /feedback."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from flask import Flask
from flask.testing import FlaskClient
from uuid_utils import uuid7

from monitoring.contract.config import Window
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from tests.unit.api_fixtures import features_of, keep_champion, running, service_of, settings
from tests.unit.models import GENRES


@pytest.fixture
def app(tmp_path: Any) -> Iterator[Flask]:
    keep_champion(tmp_path / "data", GENRES)
    with running(settings(tmp_path / "data")) as app:
        app.config["LAYOUT"] = Layout(tmp_path / "data")
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def predict(client: FlaskClient, rows: int = 1, **more: Any) -> list[str]:
    instances = [{"features": features_of(GENRES), **more} for _ in range(rows)]
    return [p["prediction_id"] for p in client.post("/predict", json={"instances": instances}).json["predictions"]]


def label(prediction_id: Any, genre: Any = "rock") -> dict[str, Any]:
    return {"prediction_id": prediction_id, "actual_genre": genre}


def labels_of(app: Flask) -> dict[str, str]:
    service_of(app).labels.seal()
    folder = app.config["LAYOUT"].labels
    if not list(folder.glob("*.parquet")):
        return {}
    return dict(pd.read_parquet(folder)[["prediction_id", "actual_genre"]].itertuples(index=False))


@pytest.mark.parametrize("sealed", [False, True], ids=["in a journal", "in a part"])
def test_labels_reach_their_rows(app: Flask, client: FlaskClient, *, sealed: bool) -> None:
    """A label is taken whether its row is still in a journal or in a part, and the window's reader joins it."""
    first, second, _ = predict(client, 3)
    if sealed:
        service_of(app).predictions.seal()
    assert client.post("/feedback", json=label(first, "jazz")).json == {"accepted": 1}
    assert client.post("/feedback", json=[label(second, "pop")]).json == {"accepted": 1}
    service_of(app).predictions.seal()
    assert labels_of(app) == {first: "jazz", second: "pop"}
    rows = read_rows(app.config["LAYOUT"], GENRES.model, Window(rows=10)).table
    assert sorted(rows["actual_genre"].to_pylist(), key=str) == [None, "jazz", "pop"]


@pytest.mark.parametrize("sealed", [False, True], ids=["in a journal", "in a part"])
def test_a_second_label_is_refused_with_its_whole_list(app: Flask, client: FlaskClient, *, sealed: bool) -> None:
    """A row has one label: a list with a labelled row is a 409 that names it, and nothing of the list is taken."""
    first, second = predict(client, 2)
    client.post("/feedback", json=label(first, "jazz"))
    if sealed:
        service_of(app).labels.seal()
    answer = client.post("/feedback", json=[label(second), label(first, "jazz")])
    assert answer.status_code == 409
    assert first in answer.json["detail"]
    assert second not in answer.json["detail"]
    assert labels_of(app) == {first: "jazz"}


def test_a_label_given_with_the_prediction_counts(client: FlaskClient) -> None:
    """A row that was logged with its label takes no second one."""
    (labelled,) = predict(client, actual_genre="pop")
    assert client.post("/feedback", json=label(labelled)).status_code == 409


def test_unknown_ids_are_named(app: Flask, client: FlaskClient) -> None:
    """An id that was never given out is a 404 that names it, and nothing of its list is taken."""
    (known,) = predict(client)
    unknown = str(uuid7())
    answer = client.post("/feedback", json=[label(known), label(unknown), label("no id at all")])
    assert answer.status_code == 404
    assert f"{unknown}, no id at all" in answer.json["detail"]
    assert labels_of(app) == {}


ID = "01a208af-b4e3-79a1-852a-d52998f0ed41"


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        pytest.param("[", 400, None, id="malformed"),
        pytest.param("3", 422, "body", id="a number"),
        pytest.param("[]", 422, "body", id="empty list"),
        pytest.param("[3]", 422, "[0]", id="list of numbers"),
        pytest.param("{}", 422, "prediction_id", id="no id"),
        pytest.param(json.dumps({"prediction_id": ID}), 422, "actual_genre", id="no genre"),
        pytest.param(json.dumps(label(ID, "polka")), 422, "actual_genre", id="unknown genre"),
        pytest.param(json.dumps([label(ID), label(ID, "polka")]), 422, "[1].actual_genre", id="unknown in a list"),
        pytest.param(json.dumps(label(ID, None)), 422, "actual_genre", id="genre null"),
        pytest.param(json.dumps(label(7)), 422, "prediction_id", id="id a number"),
        pytest.param(json.dumps({**label(ID), "note": 1}), 422, "note", id="unknown field"),
        pytest.param(json.dumps([label(ID), label(ID, "pop")]), 422, "[1].prediction_id", id="twice in a list"),
        pytest.param(json.dumps([label(ID)] * 10_001), 413, "body", id="too many"),
    ],
)
def test_bad_body_is_refused_by_name(client: FlaskClient, body: str, status: int, field: str | None) -> None:
    """What is not a label or a list of them is a 4xx that names the field."""
    answer = client.post("/feedback", data=body, content_type="application/json")
    assert answer.mimetype == "application/problem+json"
    assert (answer.status_code, answer.json.get("field")) == (status, field)


def test_allowed_genres_are_listed(client: FlaskClient) -> None:
    """Who misspells a genre sees which there are."""
    detail = client.post("/feedback", json=label(ID, "polka")).json["detail"]
    assert all(genre in detail for genre in GENRES.model.categories)


def test_other_content_types_are_refused(client: FlaskClient) -> None:
    """Feedback is JSON."""
    assert client.post("/feedback", data={"prediction_id": ID}).status_code == 415


def test_one_of_many_at_once_wins(app: Flask, client: FlaskClient) -> None:
    """Labels for the same row that arrive together: one is taken, the others are told 409."""
    (wanted,) = predict(client)
    start, statuses = threading.Barrier(8), []

    def send(genre: str) -> None:
        start.wait()
        statuses.append(app.test_client().post("/feedback", json=label(wanted, genre)).status_code)

    threads = [threading.Thread(target=send, args=(genre,)) for genre in GENRES.model.categories[:8]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [409] * 7
    assert list(labels_of(app)) == [wanted]
