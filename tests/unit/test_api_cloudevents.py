"""POST /log/cloudevents: the payload logging of KServe and Seldon."""

import re
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient

from api.log.halves import Halves
from monitoring.contract.config import Config, Window
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from tests.unit.api_fixtures import features_of, gunicorn, running, service_of, settings
from tests.unit.log_fixtures import read_ids
from tests.unit.mixed import tips, trips
from tests.unit.mixed_models import champion, lay_down
from tests.unit.models import GENRES

NAMES, CATEGORIES = GENRES.model.features, GENRES.model.categories
PREDICTION = GENRES.model.prediction
VALUES = [float(value) for value in features_of(GENRES).values()]
MOMENT = "2026-01-31T12:00:00.123456789Z"
ASKED = {"inputs": [{"name": "input-0", "shape": [1, len(NAMES)], "datatype": "FP32", "data": VALUES}]}
ANSWERED = {
    "model_name": "genres", "model_version": "v7",
    "outputs": [{"name": "predict", "shape": [1, 1], "datatype": "BYTES", "data": ["rock"]}],
}  # fmt: skip


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """A service that never had a model."""
    with running(settings(tmp_path / "data")) as app:
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def columns(app: Flask, data: Path) -> dict[str, list[Any]]:
    """Return the log's columns, with None where there is no value."""
    return {name: [None if pd.isna(v) else v for v in column] for name, column in logged(app, data).items()}


def binary(client: Any, kind: str, content: Any, key: str = "7", sender: str = "org.kubeflow", **more: str) -> Any:
    """Send an event as KServe does."""
    given = {"id": key, "type": f"{sender}.serving.inference.{kind}", "specversion": "1.0", "time": MOMENT, **more}
    headers = {f"Ce-{name.capitalize()}": value for name, value in given.items()}
    return client.post("/log/cloudevents", json=content, headers=headers)


def structured(client: Any, kind: str, content: Any, key: str = "7", **more: Any) -> Any:
    event = {"specversion": "1.0", "id": key, "type": f"org.kubeflow.serving.inference.{kind}", "data": content, **more}
    return client.post("/log/cloudevents", json=event, headers={"Content-Type": "application/cloudevents+json"})


def logged(app: Flask, data: Path, config: Config = GENRES) -> pd.DataFrame:
    service_of(app).predictions.seal()
    frame: pd.DataFrame = read_rows(Layout(data), config.model, Window(rows=10**6)).table.to_pandas()
    return frame


@pytest.mark.parametrize("send", [binary, structured])
@pytest.mark.parametrize("first", ["request", "response"])
def test_both_halves_make_a_row(app: Flask, client: FlaskClient, tmp_path: Path, send: Any, first: str) -> None:
    """In either order; the id, the request's time and the version are the sender's. A repetition changes nothing."""
    halves = [("request", ASKED), ("response", ANSWERED)][:: 1 if first == "request" else -1]
    for round_, status in enumerate(("logged", "known")):
        one, other = (send(client, *half, time=MOMENT) for half in halves)
        assert (one.status_code, one.json) == (202, {"status": "waiting"}), round_
        assert other.status_code == 200
        assert other.json["results"] == [{"prediction_id": "7", "status": status}]
    (row,) = logged(app, tmp_path / "data").to_dict("records")
    assert (row["prediction_id"], row[PREDICTION], row["model_version"]) == ("7", "rock", "v7")
    assert row["timestamp"] == pd.Timestamp("2026-01-31T12:00:00.123456Z")
    assert [row[name] for name in NAMES] == VALUES
    label = client.post("/feedback", json={"prediction_id": "7", GENRES.model.target: "pop"})
    assert label.json["accepted"] == 1


def test_seldons_halves_meet_by_their_request(client: FlaskClient) -> None:
    """Each event has an id of its own."""
    binary(client, "request", ASKED, "one", "io.seldon", requestid="r1")
    answer = binary(client, "response", ANSWERED, "two", "io.seldon", requestid="r1")
    assert answer.json["results"] == [{"prediction_id": "r1", "status": "logged"}]


SHARES = [0.7, 0.3, *[0.0] * (len(CATEGORIES) - 2)]
TWO = [*VALUES, *[value + 1 for value in VALUES]]
BODIES = [
    pytest.param(
        {"inputs": [{"name": name, "shape": [2], "datatype": "FP64", "data": [1.5, 2.5]} for name in NAMES[:2]]}
        | {"id": "ignored"},
        {"outputs": [{"name": "label", "shape": [2], "datatype": "BYTES", "data": ["rock", "pop"]}]},
        {NAMES[0]: [1.5, 2.5], PREDICTION: ["rock", "pop"], "confidence": [None, None]},
        id="a tensor per feature",
    ),
    pytest.param(
        {"inputs": [{"name": "x", "shape": [2, len(NAMES)], "datatype": "FP32", "data": [VALUES, VALUES]}]},
        {
            "outputs": [
                {"name": "predict_proba", "shape": [2, len(CATEGORIES)], "datatype": "FP32", "data": SHARES * 2},
            ]
        },
        {NAMES[1]: [1.0, 1.0], PREDICTION: [CATEGORIES[0]] * 2, "confidence": [0.7, 0.7]},
        id="one tensor, nested, and probabilities",
    ),
    pytest.param(
        {"inputs": [{"name": "x", "shape": [2, len(NAMES)], "datatype": "FP32", "data": TWO}]},
        {
            "outputs": [
                {"name": "predict", "shape": [2, 1], "datatype": "BYTES", "data": [CATEGORIES[1], CATEGORIES[0]]},
                {"name": "predict_proba", "shape": [2, len(CATEGORIES)], "datatype": "FP32", "data": SHARES * 2},
            ]
        },
        {NAMES[0]: [0.0, 1.0], PREDICTION: [CATEGORIES[1], CATEGORIES[0]], "confidence": [0.3, 0.7]},
        id="categories and probabilities",
    ),
    pytest.param(
        {"instances": [VALUES, {NAMES[0]: True}]},
        {"predictions": ["rock", "pop"]},
        {NAMES[0]: [0.0, 1.0], PREDICTION: ["rock", "pop"]},
        id="instances and predictions",
    ),
    pytest.param(
        {"instances": [VALUES, VALUES]},
        {"predictions": [SHARES, SHARES]},
        {PREDICTION: [CATEGORIES[0]] * 2, "confidence": [0.7, 0.7]},
        id="probabilities of version 1",
    ),
    pytest.param(
        {"instances": [VALUES, VALUES]},
        {"predictions": [{PREDICTION: "rock", "more": 1}, {PREDICTION: "pop"}], "model_version": 9},
        {PREDICTION: ["rock", "pop"], "model_version": ["9", "9"]},
        id="named predictions",
    ),
]


@pytest.mark.parametrize(("asked", "answered", "held"), BODIES)
def test_bodies_of_each_form_are_understood(app: Flask, tmp_path: Path, asked: Any, answered: Any, held: Any) -> None:
    """Several rows of one request have its id, and their number behind it."""
    binary(app.test_client(), "request", asked)
    answer = binary(app.test_client(), "response", answered)
    assert answer.status_code == 200, answer.json
    found = columns(app, tmp_path / "data")
    assert found["prediction_id"] == ["7-0", "7-1"]
    for name, values in held.items():
        assert found[name] == [pytest.approx(v) if isinstance(v, float) else v for v in values], name


@pytest.mark.parametrize(
    ("config", "asked", "answered", "held"),
    [
        pytest.param(
            trips(),
            {
                "inputs": [
                    {"name": "distance", "shape": [1, 1], "datatype": "FP64", "data": [2.5]},
                    {"name": "zone", "shape": [1, 1], "datatype": "BYTES", "data": ["station"]},
                    {"name": "airport", "shape": [1, 1], "datatype": "BOOL", "data": [True]},
                ]
            },
            {"outputs": [{"name": "predict", "shape": [1, 1], "datatype": "FP32", "data": [11.5]}]},
            {"distance": 2.5, "zone": "station", "airport": "true", "predicted_minutes": 11.5},
            id="a regression of levels",
        ),
        pytest.param(
            tips(model={**tips().model.model_dump(exclude_defaults=True), "positive": "yes", "threshold": 0.25}),
            {"instances": [{"distance": 2.5, "zone": "station"}]},
            {"predictions": [0.375]},
            {"predicted_tip": "yes", "confidence": 0.375},
            id="the probability of the positive category",
        ),
    ],
)
def test_other_models_are_understood(tmp_path: Path, config: Config, asked: Any, answered: Any, held: Any) -> None:
    """Levels of any datatype, numbers, and one probability of two."""
    path = lay_down(tmp_path, config, champion(config.model))
    with running(settings(tmp_path / "data", config=path)) as app:
        binary(app.test_client(), "request", asked)
        answer = binary(app.test_client(), "response", answered)
        assert answer.status_code == 200, answer.json
        (row,) = logged(app, tmp_path / "data", config).to_dict("records")
    assert {name: row[name] for name in held} == held


@pytest.mark.parametrize(
    ("content", "field"),
    [
        pytest.param({}, "instances", id="nothing"),
        pytest.param([], "data", id="a list"),
        pytest.param({"inputs": 5}, "inputs", id="no tensors"),
        pytest.param({"inputs": [{"name": "x", "shape": [1]}]}, "inputs[0].data", id="a tensor beside the JSON"),
        pytest.param({"inputs": [{"name": "x", "shape": [1], "data": 5}]}, "inputs[0].data", id="a number for data"),
        pytest.param({"inputs": [{"name": "x", "shape": [9], "data": [5]}]}, "inputs[0].data", id="another shape"),
        pytest.param({"inputs": [{"name": "x", "shape": [-1], "data": [5]}]}, "inputs[0].shape", id="a shape of none"),
        pytest.param(
            {"inputs": [{"name": "x", "shape": [10**18] * 8, "data": [5]}]}, "inputs[0].data", id="a huge shape"
        ),
        pytest.param(
            {"inputs": [{"name": "x", "shape": [10**18] * 500, "data": [5]}]}, "inputs[0].shape", id="500 dimensions"
        ),
        pytest.param({"inputs": [{"shape": [1], "data": [5]}]}, "inputs[0].name", id="no name"),
        pytest.param({"inputs": [{"name": "x", "shape": [1], "data": [5]}]}, "inputs.x", id="an unknown feature"),
        pytest.param({"instances": [[1, 2]]}, "instances[0]", id="too few values"),
    ],
)
def test_what_cannot_be_used_is_named(client: FlaskClient, content: Any, field: str) -> None:
    """By the half that holds it."""
    answer = binary(client, "request", content)
    assert (answer.status_code, answer.json["field"]) == (422, field)


def test_halves_that_do_not_fit_each_other_or_the_model_are_refused(client: FlaskClient) -> None:
    """Nothing is logged, and the next pair of this id begins anew."""
    binary(client, "request", ASKED)
    assert binary(client, "response", {"predictions": ["rock", "pop"]}).json["field"] == "rows"
    binary(client, "request", {"instances": [{NAMES[0]: "x"}]})
    assert binary(client, "response", ANSWERED).json["field"] == f"rows[0].features.{NAMES[0]}"
    assert binary(client, "response", {"predictions": ["polka"]}).json["field"] == "outputs"
    binary(client, "request", ASKED)
    assert binary(client, "response", ANSWERED).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status", "field"),
    [
        pytest.param({}, 422, "type", id="no type"),
        pytest.param({"ce-type": "io.seldon.serving.feedback", "ce-id": "7"}, 422, "type", id="another type"),
        pytest.param({"ce-type": "org.kubeflow.serving.inference.request"}, 422, "id", id="no id"),
        pytest.param({"Content-Type": "application/x-protobuf"}, 415, "Content-Type", id="no JSON"),
    ],
)
def test_what_is_no_event_of_ours_is_refused(
    client: FlaskClient, headers: dict[str, str], status: int, field: str
) -> None:
    """It is told by the attribute that says so."""
    answer = client.post("/log/cloudevents", json=ASKED, headers=headers)
    assert (answer.status_code, answer.json["field"]) == (status, field)


@pytest.mark.parametrize(
    "key", ["\ud800", "a\0b", "x" * 300, 7], ids=["half a character", "a control", "long", "no text"]
)
def test_an_id_that_cannot_be_one_is_refused(client: FlaskClient, key: Any) -> None:
    """Before its half waits."""
    answer = structured(client, "request", ASKED, key)
    assert (answer.status_code, answer.json["field"]) == (422, "id")


def test_a_half_that_is_too_large_to_wait_is_refused(app: Flask, client: FlaskClient, tmp_path: Path) -> None:
    """It takes no other's place; where its other half is there already, both are logged."""
    service_of(app).predictions.halves = Halves(tmp_path / "halves", most_bytes=150)
    assert binary(client, "response", ANSWERED, "8").status_code == 202
    answer = binary(client, "request", ASKED)
    assert (answer.status_code, answer.json["reason"], answer.json["field"]) == (413, "too_large", "data")
    assert binary(client, "request", ASKED, "8").status_code == 200


def test_halves_wait_within_bounds_and_those_that_go_are_counted(tmp_path: Path) -> None:
    """In time, in number and in bytes; the oldest go first."""
    halves = Halves(tmp_path / "halves", patience=0.2, most=3, most_bytes=1000)
    for n in range(4):
        assert halves.meet(str(n), "request", "response", b"half") == (None, int(n == 3))
    assert halves.meet("0", "response", "request", b"") == (None, 1)
    assert halves.meet("3", "response", "request", b"") == (b"half", 0)
    assert halves.meet("large", "request", "response", bytes(999)) == (None, 2)
    time.sleep(0.3)
    assert halves.meet("3", "response", "request", b"") == (None, 2)


def test_outcomes_are_counted(client: FlaskClient) -> None:
    """All of them from the start."""
    binary(client, "request", ASKED)
    binary(client, "response", ANSWERED)
    text = client.get("/metrics").text
    assert re.findall(r'^api_inference_events_total\{outcome="(\w+)"\} (\S+)$', text, re.MULTILINE) == [
        ("joined", "1.0"), ("waiting", "1.0"), ("dropped", "0.0"),
    ]  # fmt: skip


def test_halves_meet_over_workers(tmp_path: Path) -> None:
    """Whichever worker each half comes to, and in whichever order, each inference is logged once."""
    keys = [str(uuid.uuid4()) for _ in range(60)]
    with gunicorn(tmp_path / "data", "/health", API_WORKERS="2") as server, ThreadPoolExecutor(8) as pool:

        class Client:
            @staticmethod
            def post(path: str, **more: Any) -> Any:
                return requests.post(f"{server.url}{path}", timeout=20, **more)

        def send(half: tuple[str, str, Any]) -> int:
            key, kind, content = half
            return int(binary(Client, kind, content, key).status_code)

        halves = [(key, "request", ASKED) for key in keys] + [(key, "response", ANSWERED) for key in reversed(keys)]
        assert sorted(pool.map(send, halves)) == [200] * 60 + [202] * 60
    assert sorted(read_ids(tmp_path / "data" / "current.parquet")) == sorted(keys)
