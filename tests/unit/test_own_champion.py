"""A user's own model as the champion: what the flows make of it."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import mlflow.onnx
import numpy as np
import onnx
import pyarrow as pa
import pytest

from flows.registry.versions import UnfitVersionError, UnusableVersionError, load_champion
from flows.training.candidate import make_candidate, rebased
from monitoring.contract.config import Config
from monitoring.contract.names import CHAMPION
from monitoring.contract.onnx.model import load_onnx
from tests.unit.flows_fixtures import draw_wine
from tests.unit.own_models import FEATURES, converted, named, per_column, train, wine_of

WINES, NUMBERED = wine_of("red", "white"), wine_of("0", "1")


def labelled(config: Config, rows: int, *, missing: int = 0, shift: float = 0.0, seed: int = 0) -> pa.Table:
    """Return rows whose truth is one of the config's categories, the first without sugar."""
    table = draw_wine(rows, shift=shift, seed=seed)
    truth = [config.model.categories[name == "white"] for name in table["truth"].to_pylist()]
    sugar = [None if row < missing else value for row, value in enumerate(table["sugar"].to_pylist())]
    table = table.set_column(1, "sugar", pa.array(sugar, pa.float32())).drop_columns("truth")
    return table.append_column("truth", pa.array(truth)).append_column("guess", pa.array(truth))


@pytest.mark.parametrize(
    ("content", "config"),
    [
        pytest.param(named(converted(train((0, 1)))), NUMBERED, id="integer labels"),
        pytest.param(named(converted(train((0, 1)), zipmap=True), classes=["red", "white"]), WINES, id="maps"),
        pytest.param(named(per_column()[0]), WINES, id="an input per column"),
    ],
)
def test_a_candidate_is_held_against_any_champion(content: bytes, config: Config) -> None:
    """To the re-based reference: after a drift the candidate is better, and the labels are the config's."""
    champion = load_onnx(content, config.model)
    rows, reference = labelled(config, 400, shift=6.0, seed=5), labelled(config, 200)
    candidate = make_candidate(rows, reference, champion, config, seed=1)
    assert candidate.comparison.champion.accuracy < 0.7
    assert candidate.comparison.gain > 0.25
    table, performance = rebased(rows, candidate, config.model)
    assert set(table["guess"].to_pylist()) == set(config.model.categories)
    assert performance.accuracy > 0.9
    calm = make_candidate(labelled(config, 400, seed=6), reference, champion, config, seed=1).comparison
    assert calm.champion.accuracy > 0.95
    assert set(calm.champion.recall) == set(config.model.categories)


def test_rows_that_the_champion_has_no_answer_for_count_as_wrong() -> None:
    """A model that needs all values is compared on logged rows that lack some."""
    champion = load_onnx(named(converted(train(("red", "white")))), WINES.model)
    rows = labelled(WINES, 400, missing=200, seed=7)
    found = make_candidate(rows, labelled(WINES, 200), champion, WINES, seed=1).comparison
    assert found.champion.accuracy < 0.65
    assert np.isfinite(found.champion.log_loss)
    assert found.champion.confusion.sum() < found.rows


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mlflow.MlflowClient]:
    folder = tmp_path_factory.mktemp("mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.create_experiment("own", artifact_location=str(folder / "artifacts"))
    mlflow.set_experiment("own")
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri("")


def promote_by_hand(registry: mlflow.MlflowClient, content: bytes) -> None:
    """Register a model as docs/own-model.md says, and give it the alias."""
    with mlflow.start_run():
        logged = mlflow.onnx.log_model(
            onnx.load_from_string(content), name="model", registered_model_name="wine", save_as_external_data=False
        )
    registry.set_registered_model_alias("wine", CHAMPION, str(logged.registered_model_version))


@pytest.mark.filterwarnings("ignore")  # MLflow's, not ours
def test_a_champion_that_a_hand_promoted_is_loaded_or_refused_by_name(
    registry: mlflow.MlflowClient, tmp_path: Path
) -> None:
    """What is the file's own fault is told from a config that changed: only the latter asks for a new version."""
    promote_by_hand(registry, named(converted(train((0, 1))), classes=["red", "white"]))
    champion = load_champion(WINES.model)
    assert champion is not None
    assert champion.onnx.classes == ("red", "white")
    assert champion.is_brought
    champion.require_answers(labelled(WINES, 50), WINES.model)
    with pytest.raises(UnusableVersionError, match="3 of 50 rows of the reference: it needs a value of sugar"):
        champion.require_answers(labelled(WINES, 50, missing=3), WINES.model)
    promote_by_hand(registry, named(converted(train((0, 1)))))
    with pytest.raises(UnusableVersionError, match=r"rollback.*its classes are 0, 1; .* set its metadata `classes`"):
        load_champion(WINES.model)
    promote_by_hand(registry, named(converted(train((0, 1))), classes=["red", "white"], features=FEATURES[::-1]))
    with pytest.raises(UnfitVersionError, match="in this order"):
        load_champion(WINES.model)
