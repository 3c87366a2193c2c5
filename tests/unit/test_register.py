"""A model that somebody brings: registered as the first champion, or put before the gate."""

from typing import Any

import mlflow
import mlflow.sklearn
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from flows.registry.rollback_target import find_rollback_target
from flows.registry.versions import load_champion, tags_of, version_of
from monitoring.contract.history import read_history
from monitoring.contract.names import PREVIOUS
from monitoring.contract.reference import read_reference
from tests.unit.flows_fixtures import draw_wine, write_log
from tests.unit.own_models import converted, named
from tests.unit.register_fixtures import Bringing, bringing_to_wine, fitted, tracking_store  # noqa: F401 - fixtures

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's, not ours


def test_an_empty_registry_gets_the_model_as_champion(bringing: Bringing) -> None:
    """With the reference as it predicts it, its accuracy and its calibration; the page's history tells of it."""
    assert bringing.run("register", bringing.save(fitted())) == 0
    assert "the largest difference on 300 rows is" in bringing.said
    assert "on the reference's 300 labelled rows: accuracy 0.9" in bringing.said
    champion = load_champion(bringing.config.model)
    assert champion is not None
    assert champion.is_brought
    reference = read_reference(bringing.layout, bringing.config.model)
    assert (reference.origin, reference.model_version) == ("user", champion.version)
    assert reference.table["guess"].null_count == 0
    assert reference.performance is not None
    assert reference.performance.accuracy is not None
    assert reference.performance.accuracy > 0.9
    assert reference.performance.calibration is not None
    tags = tags_of(bringing.name, champion.version)
    assert (tags["origin"], tags["gate"]) == ("register", "first")
    newest = read_history(bringing.layout)[0]
    assert (newest.flow, newest.outcome, newest.version) == ("register", "Promoted", champion.version)


def test_what_has_learned_from_the_reference_promises_nothing(bringing: Bringing) -> None:
    """Its accuracy there would be too good, and the accuracy test would alarm without a cause."""
    assert bringing.run("register", bringing.save(fitted()), "--learned-from-reference") == 0
    assert read_reference(bringing.layout, bringing.config.model).performance is None


def test_an_onnx_file_is_registered_as_it_is(bringing: Bringing) -> None:
    """There is nothing to convert, and nothing to compare."""
    path = bringing.folder / "wine.onnx"
    path.write_bytes(named(converted(fitted())))
    assert bringing.run("register", str(path)) == 0
    assert "it is ONNX already" in bringing.said


def transformed() -> Any:
    frame = draw_wine(300, seed=1).to_pandas()
    truth = frame.pop("truth")
    return make_pipeline(FunctionTransformer(np.arcsinh), LogisticRegression()).fit(frame.abs(), truth)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        pytest.param({"weights": [1, 2]}, "holds a dict, and that is no scikit-learn estimator", id="no model"),
        pytest.param(LogisticRegression, "no scikit-learn estimator", id="a class"),
        pytest.param(LogisticRegression(), "the LogisticRegression is not fitted", id="not fitted"),
        pytest.param(
            fitted(columns=["acidity", "sugar"]), "has not learned from alcohol, density, which the config", id="fewer"
        ),
        pytest.param(
            LogisticRegression().fit(np.eye(5), list("ababa")), "from 5 columns without names", id="another width"
        ),
        pytest.param(fitted(labels={"red": 0, "white": 1}), "its classes are 0, 1, and the config's", id="classes"),
        pytest.param(LinearRegression().fit(np.eye(4), np.arange(4.0)), "LinearRegression is no classifier", id="task"),
        pytest.param(transformed(), "cannot be converted to ONNX: RuntimeError: FunctionTransformer", id="a step"),
    ],
)
def test_what_is_no_model_of_the_config_is_refused_by_name(bringing: Bringing, model: Any, says: str) -> None:
    """Nothing is registered, and the reference is as it was."""
    before = bringing.layout.reference.read_bytes()
    assert bringing.run("register", bringing.save(model)) == 2
    assert says in bringing.refused
    assert "Traceback" not in bringing.refused
    assert bringing.champion is None
    assert bringing.layout.reference.read_bytes() == before


def test_files_that_cannot_be_read_are_told(bringing: Bringing) -> None:
    """A file that is not there, one of no known ending, and one that is no pickle."""
    assert bringing.run("register", str(bringing.folder / "absent.joblib")) == 2
    assert "absent.joblib: cannot be read: No such file" in bringing.refused
    assert bringing.run("register", str(bringing.path)) == 2
    assert "ends in none of .onnx, .joblib" in bringing.refused
    (bringing.folder / "broken.pkl").write_bytes(b"no pickle")
    assert bringing.run("register", str(bringing.folder / "broken.pkl")) == 2
    assert "broken.pkl: is no readable pickle" in bringing.refused


def test_a_converted_model_that_answers_otherwise_is_refused(bringing: Bringing) -> None:
    """By the tolerance, which is an option: none at all is more than float32 can hold."""
    assert bringing.run("register", bringing.save(fitted()), "--tolerance", "0") == 2
    assert "answers differ from the original's by" in bringing.refused
    assert "--tolerance sets it" in bringing.refused


def test_without_a_reference_it_is_said_what_to_do(bringing: Bringing) -> None:
    """There is nothing to measure the model by."""
    bringing.layout.reference.unlink()
    assert bringing.run("register", bringing.save(fitted())) == 2
    assert "there is no reference" in bringing.refused
    assert "put labelled rows there (Parquet, with the features and truth)" in bringing.refused


def test_columns_are_taken_by_their_names(bringing: Bringing) -> None:
    """The order that a model was fitted in is its own; the config's is not asked of it."""
    assert bringing.run("register", bringing.save(fitted(columns=["density", "acidity", "alcohol", "sugar"]))) == 0
    assert "accuracy 0.9" in bringing.said


def test_a_proposal_needs_a_champion(bringing: Bringing) -> None:
    """It is held against one."""
    assert bringing.run("propose", bringing.save(fitted())) == 2
    assert "has no champion; `register` makes this model the first one" in bringing.refused


def test_a_champion_is_replaced_through_the_gate_alone(bringing: Bringing) -> None:
    """First there are no labels, then the champion is better; after a drift the proposal is, with a way back."""
    champion, later = bringing.save(fitted()), bringing.save(fitted(shift=6.0), "later.joblib")
    assert bringing.run("register", champion) == 0
    first = bringing.champion
    assert bringing.run("register", later) == 2
    assert "TooFewLabels: 100 labelled rows are needed" in bringing.said
    _, newest = write_log(bringing.layout, bringing.config, draw_wine(300, seed=3))
    assert bringing.run("propose", later) == 1
    assert "NotPromoted: version 2 has accuracy" in bringing.said
    assert "gain -" in bringing.said
    assert bringing.champion == first
    assert tags_of(bringing.name, "2")["gate"] == "refused"
    write_log(bringing.layout, bringing.config, draw_wine(600, shift=6.0, seed=4), start=newest + 1000, writer="x")
    assert bringing.run("propose", later) == 0
    assert "Promoted: version 3 has accuracy" in bringing.said
    assert (bringing.champion, version_of(bringing.name, PREVIOUS)) == ("3", first)
    reference = read_reference(bringing.layout, bringing.config.model)
    assert (reference.origin, reference.model_version) == ("rebased", "3")
    assert reference.performance is not None
    assert [one.outcome for one in read_history(bringing.layout, 3)] == ["Promoted", "NotPromoted", "TooFewLabels"]
    assert first is not None
    target = find_rollback_target(bringing.layout, bringing.config, "3", reference)
    assert target.former.version == first
    assert target.reference.model_version == first


def test_a_missing_value_asks_for_a_model_that_takes_it(bringing: Bringing) -> None:
    """The original fails on the reference's rows, and that is said, not what the converted one makes of them."""
    table = draw_wine(300, seed=8)
    sugar = pa.array([None, *table["sugar"].to_pylist()[1:]], pa.float32())
    pq.write_table(table.set_column(1, "sugar", sugar), bringing.layout.reference)
    assert bringing.run("register", bringing.save(fitted())) == 2
    assert "the original has no answer for the reference's rows: ValueError" in bringing.refused


@pytest.mark.parametrize("uri", ["runs:/{run}/model", "models:/{name}/1", "{folder}/logged"])
def test_a_model_that_mlflow_has_logged_is_taken_by_its_uri(bringing: Bringing, uri: str) -> None:
    """A run's, a registered one's under another name, or a folder that was downloaded."""
    theirs = f"theirs-{bringing.name}"
    mlflow.set_experiment(bringing.name)
    with mlflow.start_run() as run:
        mlflow.sklearn.log_model(
            fitted(), name="model", registered_model_name=theirs, serialization_format="cloudpickle"
        )
    mlflow.artifacts.download_artifacts(f"models:/{theirs}/1", dst_path=str(bringing.folder / "logged"))
    given = uri.format(run=run.info.run_id, name=theirs, folder=bringing.folder)
    assert bringing.run("register", given) == 0, bringing.refused
    assert "converted from Pipeline; the largest difference on 300 rows" in bringing.said
    assert tags_of(bringing.name, "1")["source"] == given


def test_what_mlflow_does_not_hold_is_told(bringing: Bringing) -> None:
    """A URI of nothing, and a folder that is no model."""
    assert bringing.run("register", "models:/nobody/1") == 2
    assert "models:/nobody/1: MLflow does not give it" in bringing.refused
    assert bringing.run("register", str(bringing.folder)) == 2
    assert "is no folder of a model that MLflow has logged" in bringing.refused
