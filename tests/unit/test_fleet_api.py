"""Many models in one API: each answers, fails, changes and goes by itself."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient

from api.client import LogClient
from api.keys import hashed
from api.model import Release, save_copy
from api.settings import APISettings
from benchmarks.open_loop import OpenLoop, poisson, post
from monitoring.contract.errors import ConfigError
from tests.processes import eventually
from tests.unit.api_fixtures import features_of, gunicorn, keep_champion, onnx_model, running, settings
from tests.unit.fleet_api_fixtures import FLIGHTS, LOANS, later_flights, lay_down_fleet, loans, write_config
from tests.unit.models import GENRES

GENRE, FLIGHT, LOAN = GENRES.model.name, FLIGHTS.model.name, LOANS.model.name
ROWS: dict[str, dict[str, Any]] = {
    GENRE: features_of(GENRES),
    FLIGHT: {"dep_delay": 12, "distance": 760, "hour": 7, "carrier": "UA", "origin": "EWR", "dest": "ORD"},
    LOAN: {name: column[0] for name, column in loans(1).items() if name != LOANS.model.target},
}
LABELS: dict[str, dict[str, Any]] = {
    GENRE: {GENRES.model.target: "rock"}, FLIGHT: {FLIGHTS.model.target: 3.0}, LOAN: {LOANS.model.target: 1},
}  # fmt: skip
KEYS = f"lender predict,feedback {hashed('lender')} models:{LOAN}\nall predict {hashed('all')}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Yield a folder with three models, a file that is no config, and a model that has no champion yet."""
    folder = tmp_path_factory.mktemp("fleet")
    models = lay_down_fleet(folder)
    (models / "4_broken.yml").write_text("model: [")
    write_config(models / "5_empty.yml", GENRES, name="without-champion")
    return folder


@pytest.fixture(scope="module")
def app(folder: Path) -> Iterator[Flask]:
    with running(settings(folder / "data", folder / "models")) as app:
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def predict(client: FlaskClient, name: str) -> Any:
    answer = client.post(f"/models/{name}/predict", json={"features": ROWS[name]})
    assert answer.status_code == 200, answer.text
    return answer.json


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in ROWS])
def test_each_model_predicts_and_is_labelled_in_a_folder_of_its_own(app: Flask, folder: Path, name: str) -> None:
    """The answer has the model's fields; its row and its label are under DATA_DIR/<name>, and nowhere else."""
    client = app.test_client()
    config = {GENRE: GENRES, FLIGHT: FLIGHTS, LOAN: LOANS}[name].model
    answer = predict(client, name)
    assert config.label in answer or config.prediction in answer
    known = {"prediction_id": answer["prediction_id"]}
    labelled = {to: client.post(f"/models/{to}/feedback", json=known | label) for to, label in LABELS.items()}
    assert {to: told.status_code for to, told in labelled.items()} == dict.fromkeys(LABELS, 404) | {name: 200}
    service = app.extensions["driftloop"].services[name]
    service.predictions.seal()
    service.labels.seal()
    for log in ("current.parquet", "labels.parquet"):
        assert answer["prediction_id"] in set(pd.read_parquet(folder / "data" / name / log)["prediction_id"])
        assert not (folder / "data" / log).exists()
    assert client.get(f"/models/{name}/model").json["features"] == list(config.features)


def test_real_rows_in_true_order_reach_their_model(app: Flask, client: FlaskClient, folder: Path) -> None:
    """Flights of February go to their model with their labels; another model refuses them."""
    rows = later_flights(200)
    body = {"instances": [{name: row[name] for name in FLIGHTS.model.features} for row in rows]}
    answers = client.post(f"/models/{FLIGHT}/predict", json=body).json["predictions"]
    labels = [
        {"prediction_id": answer["prediction_id"], "arr_delay": row["arr_delay"]}
        for answer, row in zip(answers, rows, strict=True)
    ]
    assert client.post(f"/models/{FLIGHT}/feedback", json=labels).json["accepted"] == 200
    assert client.post(f"/models/{LOAN}/predict", json=body).status_code == 422


def test_paths_without_a_name_are_the_first_models(client: FlaskClient) -> None:
    """The first is that of the first file; /models says which."""
    told = client.get("/models").json
    assert [model["name"] for model in told["models"]] == [GENRE, FLIGHT, LOAN, "without-champion"]
    assert told["first"] == GENRE
    assert "genre" in client.post("/predict", json={"features": ROWS[GENRE]}).json
    assert client.get("/model").json["name"] == GENRE


def test_what_is_broken_says_so_and_holds_up_no_other(client: FlaskClient) -> None:
    """A faulty file and a missing champion are 503 with the reason; the whole is ready while one model is."""
    empty = client.post("/models/without-champion/predict", json={"features": ROWS[GENRE]})
    assert (empty.status_code, empty.json["reason"]) == (503, "no_model")
    broken = client.get("/models/4_broken/model")
    assert (broken.status_code, "4_broken.yml" in broken.json["detail"]) == (503, True)
    eventually("the audio path", lambda: client.get(f"/models/{GENRE}/ready").status_code == 200, 60)
    told = client.get("/ready")
    assert told.status_code == 200
    assert told.json["not_ready"].keys() == {"without-champion", "4_broken.yml"}
    assert "is not YAML" in told.json["not_ready"]["4_broken.yml"]
    assert client.get("/models/without-champion/ready").status_code == 503
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/models/../predict", id="dots"),
        pytest.param(f"/models/a/{FLIGHT}/predict", id="slash"),
        pytest.param(f"/models/x%2F{FLIGHT}/predict", id="encoded slash"),
        pytest.param("/models/flüge-東京/predict", id="unicode"),
        pytest.param(f"/models/{'x' * 1000}/predict", id="1,000 characters"),
        pytest.param("/models//predict", id="empty"),
        pytest.param(f"/models/{FLIGHT.upper()}/predict", id="capitals"),
        pytest.param(f"/models/{FLIGHT}%00/predict", id="zero byte"),
    ],
)
def test_there_is_no_model_of_an_odd_name(client: FlaskClient, path: str) -> None:
    """It is a 404 in few words, whatever it is, and makes no series of its own."""
    answer = client.post(path, json={"features": ROWS[FLIGHT]})
    assert answer.status_code in (404, 405)
    assert answer.mimetype == "application/problem+json"
    assert len(answer.json["detail"]) < 1_200
    assert "東京" not in client.get("/metrics").text


def test_metrics_and_description_are_by_model(client: FlaskClient) -> None:
    """Each series of a model has its name; what is for no model has none. Each model's own paths are described."""
    predict(client, LOAN)
    client.get("/health")
    text = client.get("/metrics").text
    assert f'api_requests_total{{endpoint="predict",method="POST",model="{LOAN}",status="200"}}' in text
    assert f'api_predictions_total{{model="{LOAN}",repaid="' in text
    assert f'api_predictions_total{{model="{FLIGHT}"}}' in text
    assert f'prediction_log_failures_total{{model="{GENRE}",stage="append"}} 0.0' in text
    assert 'api_requests_total{endpoint="health",method="GET",model="",status="200"}' in text
    assert text.count("# TYPE api_requests_total") == 1
    described = client.get(f"/models/{LOAN}/openapi.json").json
    assert {f"/models/{LOAN}/{path}" for path in ("predict", "log", "feedback", "model", "ready")} <= {
        *described["paths"]
    }
    assert "debt_to_income_ratio" in described["components"]["schemas"]["Features"]["properties"]
    assert "/predict" in client.get("/openapi.json").json["paths"]


def test_one_model_changes_and_the_others_stay(app: Flask, folder: Path) -> None:
    """A new champion of one model answers from its next request on; the others' versions are as they were."""
    client = app.test_client()
    before = {name: client.get(f"/models/{name}/model").json["version"] for name in ROWS}
    content = onnx_model(GENRES.model.features, GENRES.model.categories, seed=1)
    save_copy(folder / "data" / GENRE / "_model", GENRE, Release("9", 9), content)
    assert predict(client, GENRE)["model_version"] == "9"
    assert {name: predict(client, name)["model_version"] for name in ROWS} == before | {GENRE: "9"}


def test_models_come_and_go_without_a_restart(tmp_path: Path) -> None:
    """A new file is served, a changed one anew, a broken one as it was; a removed one is 404, and its rows are sealed.

    A file that names the model of another is no second one.
    """
    models, data = tmp_path / "models", tmp_path / "data"
    models.mkdir()
    for name in ("a", "b"):
        keep_champion(data / name, GENRES.model_copy(update={"model": GENRES.model.model_copy(update={"name": name})}))
    with running(settings(data, models)) as app:
        client = app.test_client()

        def status(name: str) -> int:
            return client.post(f"/models/{name}/predict", json={"features": ROWS[GENRE]}).status_code

        empty = client.post("/predict", json={})
        assert (empty.status_code, client.get("/ready").status_code, status("a")) == (503, 503, 404)
        for name in ("a", "b"):
            write_config(models / f"{name}.yml", GENRES, name=name)
        eventually("both", lambda: (status("a"), status("b")) == (200, 200))
        write_config(models / "c.yml", GENRES, name="B")
        (models / "a.yml").write_text("model: [")
        eventually("both faults", lambda: client.get("/models").json["faults"].keys() == {"a.yml", "c.yml"})
        assert (status("a"), status("b"), status("B")) == (200, 200, 404)
        answered = '_total{endpoint="predict",method="POST",model="a",status="200"}'
        before = counted(client.get("/metrics").text, answered)
        write_config(models / "a.yml", GENRES, name="a", categories=["rock", "pop"])
        eventually("the changed model", lambda: status("a") == 503)  # the champion does not fit it
        assert counted(client.get("/metrics").text, answered) >= before > 0
        assert status("b") == 200
        (models / "c.yml").unlink()
        (models / "b.yml").unlink()
        eventually("the end of b", lambda: status("b") == 404)
        parts = data / "b" / "current.parquet"
        eventually("its rows to be sealed", lambda: not list(parts.glob("*.journal")) and list(parts.glob("part-*")))


@pytest.fixture
def secured(folder: Path, tmp_path: Path) -> Iterator[tuple[FlaskClient, APISettings]]:
    (tmp_path / "keys").write_text(KEYS)
    chosen = settings(folder / "data", folder / "models", api_keys_file=tmp_path / "keys")
    with running(chosen) as app:
        yield app.test_client(), chosen


def test_a_key_may_be_for_some_models_alone(secured: tuple[FlaskClient, APISettings]) -> None:
    """It is 403 elsewhere, also at paths without a name, and does not say whether there is such a model."""
    client, _ = secured

    def status(path: str, key: str, name: str) -> int:
        headers = {"Authorization": f"Bearer {key}"}
        return client.post(path, json={"features": ROWS[name]}, headers=headers).status_code

    assert status(f"/models/{LOAN}/predict", "lender", LOAN) == 200
    elsewhere = [f"/models/{FLIGHT}/predict", "/models/nowhere/predict", "/predict"]
    assert [status(path, "lender", FLIGHT) for path in elsewhere] == [403, 403, 403]
    assert [status(path, "all", FLIGHT) for path in elsewhere] == [200, 404, 422]


@pytest.mark.parametrize(
    "line", ["models:", "models:a,", "models:a/b", "model:a", "models:a models:b"], ids=lambda line: line or "none"
)
def test_a_line_with_unfit_models_is_refused(tmp_path: Path, line: str) -> None:
    """What cannot be read opens nothing: not all models either."""
    (tmp_path / "keys").write_text(f"web predict {hashed('x')} {line}\n")
    with pytest.raises(ConfigError, match="line 1: takes NAME"):
        APISettings(data_dir=tmp_path, api_keys_file=tmp_path / "keys").read_keys()


def test_an_escaped_path_is_about_the_model_that_it_names(app: Flask) -> None:
    """As it is where it is answered; what is shed counts there too."""
    model_of = app.extensions["driftloop.model_of"]
    assert [model_of(path) for path in (f"/%6dodels/{LOAN}/predict", f"/models/{LOAN}%2Fpredict")] == [LOAN, LOAN]
    assert model_of(f"/models/x%2F{FLIGHT}/predict") == ""


def test_a_flooded_model_leaves_the_others_their_threads(folder: Path) -> None:
    """One worker of two threads: far too many batches for one model are shed, and the other one's rows are answered."""
    batch = post(f"/models/{GENRE}/predict", json.dumps({"instances": [ROWS[GENRE]] * 2_000}).encode())
    row = post(f"/models/{FLIGHT}/predict", json.dumps({"features": ROWS[FLIGHT]}).encode())
    environment = {"DRIFTLOOP_CONFIG": str(folder / "models"), "API_WORKERS": "1", "API_THREADS": "2"}
    with gunicorn(folder / "data", f"/models/{GENRE}/ready", **environment) as server:
        address = urlsplit(server.url)
        with OpenLoop(address.hostname, address.port) as clients:
            clients.run([batch] * 7 + [row], poisson(160, 3, seed=0))
        text = requests.get(f"{server.url}/metrics", timeout=60).text
        client = LogClient(server.url, model=FLIGHT, prediction=FLIGHTS.model.prediction)
        client.log(ROWS[FLIGHT], 3.0)
        client.close()
        assert client.counts["logged"] == 1
    shed = {name: counted(text, f'_shed_total{{endpoint="predict",model="{name}"}}') for name in (GENRE, FLIGHT)}
    rows = counted(text, f'_total{{endpoint="predict",method="POST",model="{FLIGHT}",status="200"}}')
    assert shed[GENRE] > 100
    assert rows > max(20, 2 * shed[FLIGHT])  # on a busy machine some wait too long all the same


def counted(text: str, series: str) -> float:
    return float(text.partition(f"\napi_requests{series} ")[2].partition("\n")[0] or 0)


def test_all_that_is_a_models_own_lies_in_folders_of_its_name(tmp_path: Path) -> None:
    """So do its copy and its archive, wherever they are; options of an address stay at its end."""
    given = {"model_cache_dir": tmp_path / "cache", "prediction_log_archive": "s3://bucket/old/?region=x"}
    own = APISettings(data_dir=tmp_path, **given).of_model("flights")
    assert (own.data_dir, own.model_cache) == (tmp_path / "flights", tmp_path / "cache/flights")
    assert own.prediction_log_archive == "s3://bucket/old/flights?region=x"
    assert APISettings(data_dir=tmp_path).of_model("flights").model_cache == tmp_path / "flights/_model"
