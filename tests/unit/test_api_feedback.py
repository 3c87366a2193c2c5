"""POST /feedback."""

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flask import Flask
from flask.testing import FlaskClient
from uuid_utils import uuid7

from monitoring.contract.config import Window
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.parts import list_parts
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


def seal(app: Flask) -> None:
    service_of(app).predictions.seal()
    service_of(app).labels.seal()


def label_in_window(app: Flask) -> str | None:
    """Return the label of the newest row, as windows and retraining read it."""
    seal(app)
    (found,) = read_rows(app.config["LAYOUT"], GENRES.model, Window(rows=1)).table["actual_genre"].to_pylist()
    label: str | None = found
    return label


def labels_of(app: Flask) -> dict[str, list[str]]:
    """Return the logged labels of each prediction, oldest first."""
    service_of(app).labels.seal()
    folder = app.config["LAYOUT"].labels
    if not list(folder.glob("*.parquet")):
        return {}
    labels = pd.read_parquet(folder).sort_values("timestamp", kind="stable")
    return labels.groupby("prediction_id")["actual_genre"].apply(list).to_dict()


@pytest.mark.parametrize("sealed", [False, True], ids=["in a journal", "in a part"])
def test_labels_reach_their_rows(app: Flask, client: FlaskClient, *, sealed: bool) -> None:
    """A label is taken whether its row is still in a journal or in a part, and the window's reader joins it."""
    first, second, _ = predict(client, 3)
    if sealed:
        service_of(app).predictions.seal()
    assert client.post("/feedback", json=label(first, "jazz")).json["accepted"] == 1
    assert client.post("/feedback", json=[label(second, "pop")]).json["accepted"] == 1
    service_of(app).predictions.seal()
    assert labels_of(app) == {first: ["jazz"], second: ["pop"]}
    rows = read_rows(app.config["LAYOUT"], GENRES.model, Window(rows=10)).table
    assert sorted(rows["actual_genre"].to_pylist(), key=str) == [None, "jazz", "pop"]


def outcomes(answer: Any) -> list[str]:
    """Return what became of each label, after a look at whether the answer adds up."""
    assert answer.status_code == 200
    said = [result["status"] for result in answer.json["results"]]
    assert {key: n for key, n in answer.json.items() if key != "results" and n} == dict(Counter(said))
    return said


def counted(client: FlaskClient) -> dict[str, float]:
    text = client.get("/metrics").text
    return {
        name: float(n) for name, n in re.findall(r'^api_labels_total\{outcome="(\w+)"\} (\S+)$', text, re.MULTILINE)
    }


def test_a_list_is_answered_label_by_label(app: Flask, client: FlaskClient) -> None:
    """What is new is taken, whatever stands beside it; each label's outcome is told in the order sent, and counted."""
    old, new, wrong, other = predict(client, 4)
    unknown = str(uuid7())
    client.post("/feedback", json=[label(old, "jazz"), label(wrong, "pop")])
    sent = [label(unknown), label(new), label(old, "jazz"), label(other, "polka"), 3, label(wrong, "rock")]
    answer = client.post("/feedback", json=sent)
    assert outcomes(answer) == ["unknown", "accepted", "known", "invalid", "invalid", "corrected"]
    results = answer.json["results"]
    assert [r["prediction_id"] for r in results] == [unknown, new, old, other, None, wrong]
    assert [r.get("field") for r in results] == [None, None, None, "[3].actual_genre", "[4]", None]
    assert "polka" in results[3]["detail"]
    assert labels_of(app) == {old: ["jazz"], wrong: ["pop", "rock"], new: ["rock"]}
    assert counted(client) == {"accepted": 3, "known": 1, "corrected": 1, "unknown": 1, "invalid": 2}


def test_the_same_request_again_changes_nothing(app: Flask, client: FlaskClient) -> None:
    """A client that got no answer sends its batch once more: all is known, and no row is written twice."""
    ids = predict(client, 100)
    batch = [label(one, genre) for one, genre in zip(ids, GENRES.model.categories * 10, strict=True)]
    assert outcomes(client.post("/feedback", json=batch)) == ["accepted"] * 100
    assert outcomes(client.post("/feedback", json=batch)) == ["known"] * 100
    assert {tuple(labels) for labels in labels_of(app).values()} == {(genre,) for genre in GENRES.model.categories}


@pytest.mark.parametrize("inline", [False, True], ids=["without a label", "with its label"])
@pytest.mark.parametrize("sealed", [False, True], ids=["in a journal", "in a part"])
def test_another_label_is_a_correction(app: Flask, client: FlaskClient, *, sealed: bool, inline: bool) -> None:
    """The newest label counts, for the API and in windows, also where it is the first one again."""
    (one,) = predict(client, **({"actual_genre": "jazz"} if inline else {}))
    if not inline:
        client.post("/feedback", json=label(one, "jazz"))
    for genre in ("pop", "jazz", "pop"):
        if sealed:
            seal(app)
        assert outcomes(client.post("/feedback", json=label(one, genre))) == ["corrected"]
        assert outcomes(client.post("/feedback", json=label(one, genre))) == ["known"]
        assert label_in_window(app) == genre


def test_a_newer_label_in_a_part_counts_before_one_in_a_journal(app: Flask, client: FlaskClient) -> None:
    """A worker that seals early does not lose its correction to one whose journal holds an older label."""
    (one,) = predict(client)
    client.post("/feedback", json=label(one, "jazz"))
    labels = pd.DataFrame(
        {
            "prediction_id": [one],
            "actual_genre": ["pop"],
            "timestamp": [pd.Timestamp.now("UTC") + pd.Timedelta(hours=2)],
        }
    )
    app.config["LAYOUT"].labels.mkdir(exist_ok=True)
    labels.to_parquet(app.config["LAYOUT"].labels / "annotators.parquet")
    assert outcomes(client.post("/feedback", json=label(one, "pop"))) == ["known"]
    assert outcomes(client.post("/feedback", json=label(one, "jazz"))) == ["corrected"]
    assert label_in_window(app) == "jazz"


@pytest.mark.parametrize(
    "moment",
    ["9999-12-31T23:59:59.999999", "9999-12-31T23:59:59", "9999-12-31T00:00:00", "2999-01-01", "1500-01-01"],
)
def test_a_label_of_any_time_can_be_corrected(app: Flask, client: FlaskClient, moment: str) -> None:
    """One that is dated to the calendar's end, or never, neither outlives its correction nor makes it unreadable."""
    (one,) = predict(client)
    times = pa.array([moment], pa.string()).cast(pa.timestamp("us"))
    rows = pa.table({"prediction_id": [one], "actual_genre": ["pop"], "timestamp": times})
    app.config["LAYOUT"].labels.mkdir(exist_ok=True)
    pq.write_table(rows, app.config["LAYOUT"].labels / "annotators.parquet")
    assert label_in_window(app) == "pop"
    for genre in ("jazz", "rock"):
        assert outcomes(client.post("/feedback", json=label(one, genre))) == ["corrected"]
        assert label_in_window(app) == genre
        assert outcomes(client.post("/feedback", json=label(one, genre))) == ["known"]
    assert list_parts(app.config["LAYOUT"].labels)[1] == []


def test_a_prediction_may_stand_twice_in_a_list(app: Flask, client: FlaskClient) -> None:
    """The labels of a list count in their order: the same again is known, another one corrects the one before."""
    (one,) = predict(client)
    batch = [label(one, "jazz"), label(one, "jazz"), label(one, "pop"), label(one, "jazz")]
    assert outcomes(client.post("/feedback", json=batch)) == ["accepted", "known", "corrected", "corrected"]
    assert labels_of(app) == {one: ["jazz", "pop", "jazz"]}


@pytest.mark.parametrize("sealed", [False, True], ids=["in a journal", "in a part"])
def test_an_id_is_found_in_capitals(app: Flask, client: FlaskClient, *, sealed: bool) -> None:
    """A UUID in capitals, in whole or in part, is the same prediction; the answer has it as it was sent."""
    (one,) = predict(client)
    if sealed:
        service_of(app).predictions.seal()
    answer = client.post("/feedback", json=[label(one.upper()), label(one.title()), label(one)])
    assert outcomes(answer) == ["accepted", "known", "known"]
    assert [r["prediction_id"] for r in answer.json["results"]] == [one.upper(), one.title(), one]
    assert labels_of(app) == {one: ["rock"]}


def test_unknown_ids_are_named(app: Flask, client: FlaskClient) -> None:
    """Where no id was ever given out, for one label or a list, the answer is a 404 that names them."""
    unknown = str(uuid7())
    assert client.post("/feedback", json=label(unknown)).status_code == 404
    answer = client.post("/feedback", json=[label(unknown), label("no id at all")])
    assert answer.status_code == 404
    assert f"{unknown}, no id at all" in answer.json["detail"]
    assert labels_of(app) == {}
    assert counted(client)["unknown"] == 3


def test_a_name_twice_in_one_label_refuses_the_list(app: Flask, client: FlaskClient) -> None:
    """Of a name that stands twice nobody knows which was meant, also beside labels that cannot be used."""
    first, second = predict(client, 2)
    twice = f'{{"prediction_id": "{first}", "actual_genre": "pop", "actual_genre": "jazz"}}'
    for beside in (
        json.dumps(label(second)),
        '{"prediction_id": "x"}',
        '{"prediction_id": 7}',
        "[]",
        '{"a": "b", "c": 1}',
    ):
        answer = client.post("/feedback", data=f"[{twice}, {beside}]", content_type="application/json")
        assert (answer.status_code, answer.json["reason"]) == (422, "duplicate_key")
    assert labels_of(app) == {}


def test_text_that_is_no_unicode_is_answered(client: FlaskClient) -> None:
    """Half a surrogate pair, as an id or a name, spoils no other label's answer."""
    (one,) = predict(client)
    body = f'[{json.dumps(label(one))}, {{"prediction_id": "\\ud800", "actual_genre": "pop"}}, {{"\\ud800": 1}}]'
    answer = client.post("/feedback", data=body, content_type="application/json")
    assert outcomes(answer) == ["accepted", "unknown", "invalid"]


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


def test_labels_at_once_have_an_order(app: Flask, client: FlaskClient) -> None:
    """Of labels for one row that arrive together one is the first, the others correct; the newest is the one known."""
    (wanted,) = predict(client)
    start, told = threading.Barrier(8), []

    def send(genre: str) -> None:
        start.wait()
        told.extend(outcomes(app.test_client().post("/feedback", json=label(wanted, genre))))

    threads = [threading.Thread(target=send, args=(genre,)) for genre in GENRES.model.categories[:8]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == ["accepted"] + ["corrected"] * 7
    seal(app)
    labels = pd.read_parquet(app.config["LAYOUT"].labels)
    assert labels["timestamp"].nunique() == 8
    newest = labels.sort_values("timestamp")["actual_genre"].iloc[-1]
    assert label_in_window(app) == newest
    assert outcomes(client.post("/feedback", json=label(wanted, newest))) == ["known"]
