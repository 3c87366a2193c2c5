"""MLflow pyfunc models: registered on request, and served by a process of their own as an ONNX model is."""

import importlib
import os
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from api.model import Release, save_copy
from flows.registry.versions import load_champion, tags_of
from monitoring.contract.config import Config, Model
from monitoring.contract.onnx.model import UnfitModelError, load_onnx
from monitoring.contract.onnx.pyfunc import ModelRaisedError, bundle
from monitoring.contract.reference import read_reference
from tests.processes import eventually
from tests.unit.api_fixtures import running, service_of, settings
from tests.unit.models import WINE
from tests.unit.own_models import FEATURES, wine_of
from tests.unit.register_fixtures import Bringing, bringing_to_wine, tracking_store  # noqa: F401 - fixtures

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's, not ours

CODE = """
import os, sys, time
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel
{more}

class Wine(PythonModel):
    def predict(self, context, model_input, params=None):
        frame = model_input
        print("what a model prints disturbs nothing")
        first = frame["acidity"].iloc[0]
        if first == 666:
            time.sleep(600)
        if first == 667:
            raise ValueError("no such wine")
        if first == 668:
            return frame.iloc[:0]
        if first == 669:
            os._exit(3)
        if first == 670:
            raise RuntimeError(str(sorted(os.environ)))
        white = 1 / (1 + 2.718281828 ** -(frame["acidity"] - frame["sugar"]).clip(-50, 50))
        return {answer}

set_model(Wine())
"""
SHARES = 'pd.DataFrame({"white": white, "red": 1 - white})'
LIMITS = {"seconds": 1.5, "memory_mb": 2000}


def logged(folder: Path, answer: str = SHARES, more: str = "") -> Path:
    """Save a model as MLflow's folder; its code is changed afterwards, because MLflow runs it as it saves it."""
    code, target = folder / "code.py", folder / "model"
    code.write_text(CODE.format(answer=SHARES, more=""))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow = importlib.import_module("mlflow.pyfunc")  # its import warns
    mlflow.save_model(str(target), python_model=str(code), pip_requirements=[])
    (target / code.name).write_text(CODE.format(answer=answer, more=more))
    return target


def wines(**pyfunc: Any) -> Model:
    content = {**WINE["model"], "pyfunc": {**LIMITS, **pyfunc}}
    return Config.model_validate({**WINE, "model": content}).model


@pytest.mark.parametrize(
    ("answer", "more", "says"),
    [
        pytest.param(SHARES, "import no_such_package", "needs the package no_such_package", id="a missing package"),
        pytest.param("time.sleep(600)", "", "has not answered within 1.5 s", id="sleeps"),
        pytest.param("white.to_numpy()", "", "numbers without names", id="no names"),
        pytest.param('pd.DataFrame({"white": white, "blue": 1 - white})', "", "blue", id="other classes"),
        pytest.param(SHARES, "big = bytearray(3 * 10**9)", "MemoryError", id="memory"),
    ],
)
def test_what_is_of_no_use_is_refused_with_the_reason(tmp_path: Path, answer: str, more: str, says: str) -> None:
    """When it is loaded, and before it serves anybody."""
    content = bundle(logged(tmp_path, answer, more))
    with pytest.raises(UnfitModelError) as found:
        load_onnx(content, wines())
    assert says in str(found.value)


@pytest.fixture(scope="module", name="content")
def content_of_a_good_one(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return bundle(logged(tmp_path_factory.mktemp("pyfunc")))


def test_it_answers_as_an_onnx_model_does(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes in the order of its columns, rows and threads of one process; no secret is in its environment."""
    monkeypatch.setenv("API_PASSWORD", "secret")
    with pytest.raises(UnfitModelError, match=r"`model\.pyfunc"):
        load_onnx(content, wine_of("red", "white").model)
    model = load_onnx(content, wines())
    rows = np.array([[3.0, 1, 0, 0], [1, 3, 0, 0]])
    predicted, shares = model.predict(rows)
    assert (model.kind, model.features) == ("pyfunc", tuple(FEATURES))
    assert predicted.tolist() == ["white", "red"]
    np.testing.assert_allclose(shares[:, model.classes.index("white")], 1 / (1 + np.exp([-2, 2])), atol=1e-5)
    with pytest.raises(ModelRaisedError) as told:
        model.predict(np.array([[670.0, 0, 0, 0]]))
    assert "PATH" in str(told.value)
    assert "API_PASSWORD" not in str(told.value)


def test_a_process_that_is_lost_is_started_anew(tmp_path: Path, content: bytes) -> None:
    """The request that it is lost in gets 503, /ready fails meanwhile, and the rows before and after are in the log."""
    save_copy(tmp_path / "_model", "wine", Release("1", 1), content)
    config = tmp_path / "config.yml"
    config.write_text(yaml.safe_dump({**WINE, "model": {**WINE["model"], "pyfunc": LIMITS}}))
    with running(settings(tmp_path, config)) as app:
        client = app.test_client()

        def answer(first: float) -> Any:
            return client.post("/predict", json={"features": {**dict.fromkeys(FEATURES, 0.5), "acidity": first}})

        def ready() -> bool:
            return client.get("/ready").status_code == 200

        served = service_of(app).follower.serving()
        assert served is not None
        session = served.onnx._runner.session
        assert (answer(1.0).status_code, client.get("/model").json["served_by"]) == (200, "pyfunc")
        for first, status, says in (
            (667, 422, "no such wine"),
            (668, 422, "it returned the shape"),
            (669, 503, "has ended (status 3)"),
            (666, 503, "not answered within 1.5 s"),
        ):
            got = answer(first)
            assert (got.status_code, says in got.json["detail"]) == (status, True), got.json
            if status == 503:
                assert client.get("/ready").status_code == 503
                eventually("the process to be started anew", ready, 60)
            assert answer(1.0).status_code == 200
        os.kill(session.pid, signal.SIGKILL)
        assert answer(1.0).status_code == 503
        eventually("the process to be started anew", ready, 60)
        assert answer(1.0).status_code == 200


def test_it_ends_with_the_model(content: bytes) -> None:
    """A version that serves no more leaves no process behind."""
    model = load_onnx(content, wines())
    pid = model._runner.session.pid
    del model
    eventually("the process to end", lambda: not Path(f"/proc/{pid}").exists(), 20)


@pytest.mark.timeout(300)  # its processes load MLflow
def test_it_is_registered_when_the_user_says_so(bringing: Bringing, tmp_path: Path) -> None:
    """Without --pyfunc the refusal names the way; with it the model is champion, with the reference's predictions."""
    source = str(logged(tmp_path))
    assert bringing.run("register", source) == 2
    assert "--pyfunc" in bringing.refused
    assert bringing.run("register", source, "--pyfunc") == 2
    assert "`model.pyfunc: {}` in config.yml" in bringing.refused
    bringing.configure({"pyfunc": {}})
    assert bringing.run("register", source, "--pyfunc") == 0, bringing.refused
    assert "slower than ONNX" in bringing.said
    champion = load_champion(bringing.config.model)
    assert champion is not None
    assert champion.onnx.kind == "pyfunc"
    assert tags_of(bringing.name, champion.version)["model_file"] == "pyfunc.zip"
    reference = read_reference(bringing.layout, bringing.config.model)
    assert reference.table["guess"].null_count == 0
    assert reference.performance is not None
    assert reference.performance.calibration is not None
