"""POST /log: predictions that another service made."""

import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from uuid_utils import uuid7

from api.log.own_ids import may_be_own
from monitoring.__main__ import main
from monitoring.contract.config import Config, Window
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from tests.unit.api_fixtures import features_of, gunicorn, keep_champion, running, service_of, settings
from tests.unit.log_fixtures import read_ids
from tests.unit.mixed import trips
from tests.unit.mixed_models import champion, lay_down
from tests.unit.models import GENRES

PREDICTION, TARGET = GENRES.model.prediction, GENRES.model.target
MINUTE = timedelta(minutes=1)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """A service that never had a model."""
    with running(settings(tmp_path / "data")) as app:
        app.config["LAYOUT"] = Layout(tmp_path / "data")
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def row(**more: Any) -> dict[str, Any]:
    return {"features": features_of(GENRES), PREDICTION: "rock", **more}


def send(client: FlaskClient, *rows: Any) -> Any:
    return client.post("/log", json={"rows": rows})


def statuses(answer: Any) -> list[str]:
    """Return what became of each row, after a look at whether the answer adds up."""
    assert answer.status_code == 200, answer.json
    said = [result["status"] for result in answer.json["results"]]
    assert [answer.json[status] for status in ("logged", "known")] == [said.count(s) for s in ("logged", "known")]
    return said


def logged(app: Flask, config: Config = GENRES) -> pd.DataFrame:
    """Return the log as its reader has it, oldest first."""
    service_of(app).predictions.seal()
    service_of(app).labels.seal()
    frame: pd.DataFrame = read_rows(app.config["LAYOUT"], config.model, Window(rows=10**6)).table.to_pandas()
    return frame


def test_a_row_is_logged_as_it_was_sent(app: Flask, client: FlaskClient) -> None:
    """Id, time, prediction, confidence, version and label are the client's; no model has to be loaded for that."""
    when = datetime(2026, 1, 31, 12, 0, 0, 123456, UTC)
    sent = row(
        prediction_id="order 7/ü", timestamp=when.isoformat(), confidence=0.75, model_version="xgb-7", **{TARGET: "pop"}
    )
    sent["features"][GENRES.model.features[0]] = None
    assert statuses(send(client, sent)) == ["logged"]
    (found,) = logged(app).to_dict("records")
    assert found["prediction_id"] == "order 7/ü"
    assert found["timestamp"] == when
    assert (found[PREDICTION], found["confidence"], found["model_version"]) == ("rock", 0.75, "xgb-7")
    assert found[TARGET] == "pop"
    assert pd.isna(found[GENRES.model.features[0]])
    assert found[GENRES.model.features[1]] == 1.0


def test_what_is_not_sent_is_made_or_null(app: Flask, client: FlaskClient) -> None:
    """Without an id and a time a row gets an id of ours and the time; the rest is null."""
    before = datetime.now(UTC)
    answer = send(client, row(), row(prediction_id=None, timestamp=None))
    assert statuses(answer) == ["logged", "logged"]
    found = logged(app)
    assert set(found["prediction_id"]) == {result["prediction_id"] for result in answer.json["results"]}
    assert all(map(may_be_own, found["prediction_id"]))
    assert found["timestamp"].between(before, datetime.now(UTC)).all()
    assert found[["confidence", "model_version", TARGET]].isna().all(axis=None)


def test_of_several_labels_in_a_request_the_last_counts(app: Flask, client: FlaskClient) -> None:
    """As it does where they come one by one; a row that is known already stays as it is."""
    rows = [row(prediction_id="order 8", **{TARGET: label}) for label in ("pop", "jazz", None)]
    assert statuses(send(client, row(), *rows)) == ["logged", "logged", "known", "known"]
    assert statuses(send(client, *rows[:1])) == ["known"]
    assert logged(app).set_index("prediction_id")[TARGET]["order 8"] == "jazz"


@pytest.mark.parametrize("sealed", [False, True], ids=["in a journal", "in a part"])
@pytest.mark.parametrize(
    "an_id",
    [
        pytest.param(lambda: str(uuid.uuid4()), id="a random UUID"),
        pytest.param(lambda: str(uuid7()), id="a UUID of now"),
        pytest.param(lambda: str(uuid7(nanoseconds=10**18))[:-4] + "d10c", id="a UUID that could be ours"),
        pytest.param(lambda: f"{uuid.uuid4()}-d10c", id="a text that ends as ours do"),
        pytest.param(lambda: 'he said "7"\\ö ' + str(uuid.uuid4()), id="a text"),
    ],
)
def test_an_id_is_logged_once(app: Flask, client: FlaskClient, an_id: Any, *, sealed: bool) -> None:
    """Within a request, over requests, and whatever else the row holds; what is new beside it is logged."""
    one, other, third = an_id(), an_id(), an_id()
    assert statuses(send(client, row(prediction_id=one), row(prediction_id=other), row(prediction_id=one))) == [
        "logged", "logged", "known",
    ]  # fmt: skip
    if sealed:
        service_of(app).predictions.seal()
    changed = row(prediction_id=one, timestamp="2026-01-01", confidence=0.1, **{TARGET: "pop"})
    assert statuses(send(client, changed, row(prediction_id=third), row(prediction_id=other))) == [
        "known", "logged", "known",
    ]  # fmt: skip
    found = logged(app).set_index("prediction_id")
    assert sorted(found.index) == sorted([one, other, third])
    assert found[["confidence", TARGET]].isna().all(axis=None)


def damage(index: Path) -> None:
    """Cut a run off, and put another out of order."""
    for number, run in enumerate(sorted(index.glob("*.run"))):
        run.write_bytes(bytes(16 * 4 if number else 7))


@pytest.mark.parametrize("harm", [Path.exists, shutil.rmtree, damage], ids=["kept", "lost", "damaged"])
def test_ids_are_known_after_a_restart(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    """The index of ids survives; where it was lost, or is damaged, it is made again from the log."""
    batch = [row(prediction_id=str(uuid.uuid4())) for _ in range(50)]
    for expected in ("logged", "known", "known"):
        with running(settings(tmp_path / "data")) as app:
            answer = send(app.test_client(), *batch)
            if answer.status_code == 503:  # it has just seen the damage
                answer = send(app.test_client(), *batch)
            assert statuses(answer) == [expected] * 50
        harm(tmp_path / "data" / "current.parquet" / "_ids")


def test_labels_find_their_rows_while_the_index_is_gone(app: Flask, client: FlaskClient) -> None:
    """An id that tells another time than its row's is looked for in the whole log then."""
    one, when = str(uuid7()), datetime.now(UTC) - timedelta(days=3)
    send(client, row(prediction_id=one, timestamp=when.isoformat()), row())
    service_of(app).predictions.seal()
    for file in service_of(app).predictions.folder.glob("_ids/*"):
        file.unlink()
    for expected in ("accepted", "known"):
        answer = client.post("/feedback", json={"prediction_id": one, TARGET: "jazz"})
        assert (answer.status_code, answer.json[expected]) == (200, 1)
    assert statuses(send(client, row(prediction_id=one))) == ["known"]


def test_only_uuids_of_version_7_may_be_ours() -> None:
    """What only ends as they do is looked up in the index, as others' ids are."""
    assert may_be_own(str(uuid7())[:-4] + "d10c")
    assert not any(map(may_be_own, ["order-d10c", str(uuid.uuid4())[:-4] + "d10c", str(uuid7())[:-4] + "d10d"]))


def test_a_row_that_was_never_written_is_not_known(app: Flask, client: FlaskClient) -> None:
    """A worker that is killed between the index and the log leaves an id that is logged when it is sent again."""
    service_of(app).predictions.ids.put({"7": 0, "8": 0})
    assert statuses(send(client, row(prediction_id="7"), row(prediction_id="9"))) == ["logged", "logged"]
    assert statuses(send(client, row(prediction_id="7"))) == ["known"]
    assert sorted(logged(app)["prediction_id"]) == ["7", "9"]


def test_ids_of_predict_are_known(tmp_path: Path) -> None:
    """A client that logs what it got from /predict, with the id of that, gets no second row."""
    keep_champion(tmp_path / "data", GENRES)
    with running(settings(tmp_path / "data")) as app:
        client = app.test_client()
        answer = client.post("/predict", json={"features": features_of(GENRES)}).json
        for _ in range(2):
            assert statuses(send(client, row(prediction_id=answer["prediction_id"]), row())) == ["known", "logged"]
            service_of(app).predictions.seal()


def test_rows_go_to_the_place_of_their_time(app: Flask, client: FlaskClient) -> None:
    """Backdated rows are sorted among others, whenever they come; those from the future are dated now, and told."""
    now = datetime.now(UTC)
    for ago in (5, 1, 60 * 24 * 90, 3):
        send(client, row(prediction_id=f"{ago} ago", timestamp=(now - ago * MINUTE).isoformat()))
    ahead = send(client, row(prediction_id="ahead", timestamp=(now + 60 * MINUTE).isoformat()))
    (result,) = ahead.json["results"]
    assert result["status"] == "logged"
    assert result["field"] == "rows[0].timestamp"
    assert "ahead of this clock" in result["detail"]
    found = logged(app)
    assert found["prediction_id"].tolist() == ["129600 ago", "5 ago", "3 ago", "1 ago", "ahead"]
    assert now - MINUTE < found["timestamp"].iloc[-1] < now + MINUTE


@pytest.mark.parametrize("sealed", [False, True], ids=["in a journal", "in a part"])
@pytest.mark.parametrize(
    ("an_id", "when"),
    [
        pytest.param("order 7", "2026-01-31", id="a text"),
        pytest.param("0192e4a0-0000-4000-8000-000000000000", "2026-01-31", id="a random UUID"),
        pytest.param("01A208AF-B4E3-79A1-852A-D52998F0ED41", "2026-01-31", id="a UUID of another time, in capitals"),
    ],
)
def test_labels_find_rows_by_ids_of_any_form(
    app: Flask, client: FlaskClient, an_id: str, when: str, *, sealed: bool
) -> None:
    """A label is accepted, known and corrected, and its row has it in windows, as with an id of ours."""
    send(client, row(prediction_id=an_id, timestamp=when), row(prediction_id="other"))
    said = []
    for genre in ("jazz", "jazz", "pop"):
        if sealed:
            service_of(app).predictions.seal()
            service_of(app).labels.seal()
        answer = client.post("/feedback", json={"prediction_id": an_id, TARGET: genre})
        said += [result["status"] for result in answer.json["results"]]
    assert said == ["accepted", "known", "corrected"]
    assert logged(app)[TARGET].dropna().to_dict() == {0: "pop"}
    unknown = client.post("/feedback", json={"prediction_id": "order 8", TARGET: "pop"})
    assert unknown.status_code == 404


REFUSED = [
    pytest.param({"features": {"mfcc_1": "x"}}, "rows[1].features.mfcc_1", id="text for a number"),
    pytest.param({"features": {"mfcc_1": float("inf")}}, "rows[1].features.mfcc_1", id="an infinite value"),
    pytest.param({"features": {"tempo": 1}}, "rows[1].features.tempo", id="an unknown feature"),
    pytest.param({"features": {}}, "rows[1].features", id="no value"),
    pytest.param({"features": None}, "rows[1].features", id="no features"),
    pytest.param({PREDICTION: "polka"}, f"rows[1].{PREDICTION}", id="an unknown category"),
    pytest.param({PREDICTION: None}, f"rows[1].{PREDICTION}", id="no prediction"),
    pytest.param({TARGET: "polka"}, f"rows[1].{TARGET}", id="an unknown label"),
    pytest.param({"confidence": 1.5}, "rows[1].confidence", id="a confidence that is none"),
    pytest.param({"confidence": True}, "rows[1].confidence", id="a boolean for a confidence"),
    pytest.param({"probabilities": {"polka": 1}}, "rows[1].probabilities.polka", id="an unknown probability"),
    pytest.param({"probabilities": {"rock": 0.4}}, "rows[1].probabilities", id="probabilities that do not sum to 1"),
    pytest.param({"prediction_id": 7}, "rows[1].prediction_id", id="a number for an id"),
    pytest.param({"prediction_id": ""}, "rows[1].prediction_id", id="an empty id"),
    pytest.param({"prediction_id": "x" * 257}, "rows[1].prediction_id", id="a long id"),
    pytest.param({"prediction_id": "a\nb"}, "rows[1].prediction_id", id="an id of two lines"),
    pytest.param({"prediction_id": "\ud800"}, "rows[1].prediction_id", id="half a character"),
    pytest.param({"timestamp": "yesterday"}, "rows[1].timestamp", id="a word for a time"),
    pytest.param({"timestamp": True}, "rows[1].timestamp", id="a boolean for a time"),
    pytest.param({"timestamp": "1969-12-31T23:59:59Z"}, "rows[1].timestamp", id="before 1970"),
    pytest.param({"timestamp": -1}, "rows[1].timestamp", id="before 1970, as a number"),
    pytest.param({"timestamp": 1790000000000}, "rows[1].timestamp", id="milliseconds"),
    pytest.param({"timestamp": float("nan")}, "rows[1].timestamp", id="no number"),
    pytest.param({"timestamp": 1e308}, "rows[1].timestamp", id="a huge number"),
    pytest.param({"model_version": ["1"]}, "rows[1].model_version", id="a list for a version"),
    pytest.param({"genre": "rock"}, "rows[1].genre", id="an unknown field"),
]


@pytest.mark.parametrize(("wrong", "field"), REFUSED)
def test_a_row_that_cannot_be_used_is_named_and_nothing_is_logged(
    app: Flask, client: FlaskClient, wrong: dict[str, Any], field: str
) -> None:
    """A request is logged as a whole or not at all."""
    answer = send(client, row(prediction_id="good"), row(**wrong))
    assert (answer.status_code, answer.json["field"]) == (422, field)
    assert answer.json["detail"].startswith(f"{field}: ")
    assert not len(logged(app))
    assert statuses(send(client, row(prediction_id="good"))) == ["logged"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param('{"rows": [' + ",".join(["{}"] * 1_000_000) + "]}", 413, id="a million rows"),
        pytest.param('{"rows": [' + ",".join(["1"] * 5_000_000) + "]}", 413, id="millions of numbers"),
        pytest.param('{"rows": []}', 422, id="no rows"),
        pytest.param('{"rows": {}}', 422, id="no list"),
        pytest.param("{}", 422, id="nothing"),
        pytest.param('{"rows": [{}], "rows": [{}]}', 422, id="rows twice"),
        pytest.param("[]", 422, id="a list"),
        pytest.param("{", 400, id="half an object"),
    ],
)
def test_a_body_that_cannot_be_used_is_refused(client: FlaskClient, body: str, status: int) -> None:
    """Before it takes memory, where it is too large."""
    assert client.post("/log", data=body, content_type="application/json").status_code == status


def test_a_name_that_stands_twice_is_refused(client: FlaskClient) -> None:
    """Of two values a parser would keep the last."""
    features = '{"mfcc_1": 1, "mfcc_1": 2}'
    body = f'{{"rows": [{{"prediction_id": "7", "features": {features}, "{PREDICTION}": "rock"}}]}}'
    answer = client.post("/log", data=body, content_type="application/json")
    assert (answer.status_code, answer.json["reason"]) == (422, "duplicate_key")


@pytest.mark.parametrize(
    ("sent", "held"),
    [
        pytest.param("2026-01-31T12:00:00Z", "2026-01-31T12:00:00", id="in UTC"),
        pytest.param("2026-01-31T12:00:00", "2026-01-31T12:00:00", id="without a zone"),
        pytest.param("2026-01-31t12:00:00.5z", "2026-01-31T12:00:00.5", id="in small letters"),
        pytest.param("2026-01-31 14:00:00+02:00", "2026-01-31T12:00:00", id="with a zone"),
        pytest.param("2026-01-31", "2026-01-31T00:00:00", id="a date"),
        pytest.param(1769860800, "2026-01-31T12:00:00", id="seconds"),
        pytest.param(1769860800.25, "2026-01-31T12:00:00.25", id="a fraction of seconds"),
        pytest.param(0, "1970-01-01", id="the first moment"),
    ],
)
def test_times_are_taken_as_text_or_seconds(app: Flask, client: FlaskClient, sent: Any, held: str) -> None:
    """Of all these the log holds the moment."""
    assert statuses(send(client, row(timestamp=sent))) == ["logged"]
    assert logged(app)["timestamp"].tolist() == [pd.Timestamp(held, tz="UTC")]


def test_probabilities_tell_the_confidence(app: Flask, client: FlaskClient) -> None:
    """Where the confidence was not sent itself; a category that is absent has none."""
    shares = {"rock": 0.75, "pop": 0.25}
    send(client, row(probabilities=shares, timestamp=1), row(probabilities=shares, confidence=0.5, timestamp=2))
    assert logged(app)["confidence"].tolist() == [0.75, 0.5]


def test_a_regression_of_levels_is_logged_too(tmp_path: Path) -> None:
    """Levels are texts, the prediction is a number, and there are no probabilities."""
    config = trips()
    path = lay_down(tmp_path, config, champion(config.model))
    model = config.model
    levels = dict.fromkeys(model.of_kind("categorical"), 7)
    sent = {"features": levels, model.prediction: 12, "prediction_id": "trip 1", model.target: 11.5}
    with running(settings(tmp_path / "data", config=path)) as app:
        app.config["LAYOUT"] = Layout(tmp_path / "data")
        assert statuses(send(app.test_client(), sent)) == ["logged"]
        for wrong in ({model.prediction: "12"}, {model.prediction: float("nan")}, {"probabilities": {"a": 1}}):
            answer = send(app.test_client(), sent | wrong)
            assert (answer.status_code, answer.json["field"]) == (422, f"rows[0].{next(iter(wrong))}")
        (found,) = logged(app, config).to_dict("records")
    assert (found[model.prediction], found[model.target]) == (12.0, 11.5)
    assert {found[name] for name in levels} == {"7"}


def test_every_worker_knows_every_id(tmp_path: Path) -> None:
    """Clients that send the same rows at once, also over a killed server, get each of them into the log once."""
    ids = [[str(uuid.uuid4()) for _ in range(20)] for _ in range(15)]
    with gunicorn(tmp_path / "data", "/health", API_WORKERS="2") as server, ThreadPoolExecutor(8) as pool:

        def log(batch: list[str]) -> list[str]:
            body = {"rows": [row(prediction_id=one) for one in batch]}
            answer = requests.post(f"{server.url}/log", json=body, timeout=20)
            assert answer.status_code == 200, answer.text
            return [result["status"] for result in answer.json()["results"]]

        said = list(pool.map(log, [batch for batch in ids for _ in range(4)]))
        assert sum(statuses.count("logged") for statuses in said) == 300
        server.kill()
        server.start()
        assert {status for statuses in pool.map(log, ids) for status in statuses} == {"known"}
    assert sorted(read_ids(tmp_path / "data" / "current.parquet")) == sorted(one for batch in ids for one in batch)


def test_rows_are_counted_by_what_became_of_them(client: FlaskClient) -> None:
    """Both outcomes are there from the start."""
    send(client, row(prediction_id="1"), row(prediction_id="1"), row(prediction_id="2"))
    text = client.get("/metrics").text
    assert re.findall(r'^api_log_rows_total\{outcome="(\w+)"\} (\S+)$', text, re.MULTILINE) == [
        ("logged", "2.0"), ("known", "1.0"),
    ]  # fmt: skip


def test_ids_of_a_batch_that_was_ingested_are_known(
    client: FlaskClient, app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the index of ids was there before the batch or not: what `ingest` appends is known from then on."""
    monkeypatch.setenv("DATA_DIR", str(app.config["LAYOUT"].root))
    monkeypatch.delenv("DRIFTLOOP_CONFIG", raising=False)
    begin = datetime.now(UTC) - timedelta(hours=1)
    for number, before in enumerate((False, True)):
        if before:
            assert statuses(send(client, row(prediction_id="early"))) == ["logged"]
        times = [begin + timedelta(seconds=number * 10 + n) for n in range(3)]
        ids = [f"order {number}-{n}" for n in range(3)]
        rows = pd.DataFrame([features_of(GENRES)] * 3).assign(
            timestamp=times, prediction_id=ids, **{PREDICTION: "rock", TARGET: None}
        )
        rows.to_parquet(tmp_path / f"{number}.parquet", index=False)
        assert main(["ingest", "--input", str(tmp_path / f"{number}.parquet")]) == 0
        sent = [row(prediction_id=i, timestamp=t.isoformat()) for i, t in zip(ids, times, strict=True)]
        assert statuses(send(client, *sent, row(prediction_id=f"new {number}"))) == ["known"] * 3 + ["logged"]
