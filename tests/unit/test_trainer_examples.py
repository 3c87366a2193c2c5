"""The trainers of docs/examples/trainers, each through the gate; docs/bring-your-own.md shows them."""

import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from flows.training.candidate import make_candidate
from flows.training.export import export_onnx
from flows.training.own_trainer import OwnTrainer
from flows.training.pipeline import train
from flows.training.sample import sample_of
from monitoring.contract.config import Config
from monitoring.contract.onnx.model import OnnxModel, load_onnx
from monitoring.contract.schemas import reference_schema
from monitoring.contract.values import conform
from tests.processes import ROOT
from tests.unit.mixed import tips, trip_rows, trips
from tests.unit.models import WINE

EXAMPLES = "docs.examples.trainers"
pytestmark = pytest.mark.timeout(600)  # a training starts a process of its own, and converts


def rows_of(config: Config, rows: int, seed: int, strength: float = 1.0) -> pa.Table:
    return conform(pa.table(trip_rows(rows, seed, strength=strength)), reference_schema(config.model))


def champion_of(rows: pa.Table, config: Config) -> OnnxModel:
    exported = export_onnx(train(sample_of(rows, config.model)), config.model)
    return load_onnx(exported.SerializeToString(), config.model)


def trainer_of(config: Config, tmp_path: Any) -> OwnTrainer:
    path = tmp_path / "config.yml"
    path.write_text(config.model_dump_json(exclude_unset=True))  # JSON is YAML
    return OwnTrainer(config, path, print)


@pytest.mark.parametrize(
    ("example", "task"),
    [
        pytest.param("pipeline", "regression", id="pipeline, regression"),
        pytest.param("pipeline", "classification", id="pipeline, classification"),
        pytest.param("boosted_trees", "regression", id="boosted trees, regression"),
        pytest.param("lightgbm_trees", "classification", id="LightGBM, classification"),
    ],
)
def test_a_function_of_the_examples_mends_a_drift(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, task: str, example: str
) -> None:
    """The station's minutes have grown; the numbers and the categories of the new rows tell by how much."""
    if example == "lightgbm_trees":
        pytest.importorskip("lightgbm")
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the tests beside this one have the other core
    retrain = {**WINE["retrain"], "trainer": f"{EXAMPLES}.{example}:train"}
    if task == "regression":
        retrain["metric"] = "mae"
    config = (trips if task == "regression" else tips)(retrain=retrain)
    reference, rows = rows_of(config, 400, 0), rows_of(config, 600, 3, strength=6)
    found = make_candidate(
        rows, reference, champion_of(reference, config), config, 1, trainer=trainer_of(config, tmp_path)
    )
    assert found.comparison.gain > 0.05
    assert found.comparison.passed


def test_the_command_of_the_examples_mends_a_drift(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """It knows nothing of this project but the names of three environment variables."""
    monkeypatch.chdir(ROOT)
    model = {**WINE["model"], "features": ["distance", "passengers"], "target": "tip", "categories": ["no", "yes"]}
    words = [sys.executable, f"{EXAMPLES.replace('.', '/')}/command.py", "distance", "passengers", "--target", "tip"]
    config = Config.model_validate({**WINE, "model": model, "retrain": {**WINE["retrain"], "command": words}})
    table = pa.table(trip_rows(600, 3)).append_column("guess", pa.array(["no"] * 600))
    rows = conform(table, reference_schema(config.model))
    meaningless = pa.array(np.where(np.arange(600) % 2, "yes", "no"))
    champion = champion_of(rows.drop_columns("tip").append_column("tip", meaningless), config)
    found = make_candidate(rows, rows, champion, config, 1, trainer=trainer_of(config, tmp_path))
    assert found.comparison.passed
    assert found.comparison.gain > 0.05
