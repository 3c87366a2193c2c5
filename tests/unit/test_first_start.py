"""What a start of the flows makes of a registry: it replaces no champion, registers `model.source`, or waits."""

from collections.abc import Callable
from typing import Any

import mlflow
import pyarrow.parquet as pq
import pytest

from flows.first_start import Start, keep_champion, start_without_training
from flows.registry.versions import UnfitVersionError
from monitoring.contract.errors import ConfigError, DriftloopError
from monitoring.contract.reference import InvalidReferenceError, read_reference
from tests.unit.flows_fixtures import draw_wine
from tests.unit.register_fixtures import Bringing, bringing_to_wine, fitted, tracking_store  # noqa: F401 - fixtures

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's, not ours


def start(bringing: Bringing) -> Start | None:
    """Start as the flow `bootstrap` does; None stands for a training."""
    if (version := bringing.champion) is not None:
        return keep_champion(bringing.config, bringing.layout, version, print)
    return start_without_training(bringing.config, bringing.layout, print, {"flow_run_id": "1"})


def test_the_first_start_registers_the_source(bringing: Bringing) -> None:
    """One key of the config is enough; the next start keeps what is there, whatever the key says then."""
    bringing.configure({"source": bringing.save(fitted())})
    assert start(bringing) == Start("Promoted", f"version 1 is champion: {bringing.folder}/model.joblib", "1")
    reference = read_reference(bringing.layout, bringing.config.model)
    assert reference.model_version == "1"
    assert reference.performance is not None
    bringing.configure({"source": bringing.save(fitted(shift=6.0), "other.joblib")})
    found = start(bringing)
    assert found is not None
    assert (found.outcome, found.version) == ("Ready", "1")
    assert read_reference(bringing.layout, bringing.config.model).digest == reference.digest


def test_waiting_serves_nothing_until_a_model_is_registered(bringing: Bringing) -> None:
    """No reference is drawn and no model trained; then the registered one is kept."""
    bringing.configure(bootstrap="wait")
    found = start(bringing)
    assert found is not None
    assert (found.outcome, found.version) == ("Waiting", None)
    assert "`python -m flows register --model …` registers one" in found.message
    assert bringing.champion is None
    assert bringing.run("register", bringing.save(fitted())) == 0
    found = start(bringing)
    assert found is not None
    assert (found.outcome, found.version) == ("Ready", "1")


def test_without_either_key_a_first_start_trains(bringing: Bringing) -> None:
    """As it always did."""
    assert start(bringing) is None


def test_both_keys_at_once_are_refused(bringing: Bringing) -> None:
    """One waits for what the other names."""
    with pytest.raises(ConfigError, match=r"bootstrap: wait waits for a model, and model\.source names one"):
        bringing.configure({"source": "x.onnx"}, bootstrap="wait")


def new_reference(bringing: Bringing) -> None:
    pq.write_table(draw_wine(100, seed=5), bringing.layout.reference)


def no_reference(bringing: Bringing) -> None:
    bringing.layout.reference.unlink()


def fewer_features(bringing: Bringing) -> None:
    bringing.configure({"features": ["acidity", "sugar", "alcohol"]})


def other_categories(bringing: Bringing) -> None:
    bringing.configure({"categories": ["red", "rosé"]})


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        pytest.param(lambda _: None, None, "", id="nothing has changed"),
        pytest.param(new_reference, None, "", id="a reference without predictions"),
        pytest.param(no_reference, InvalidReferenceError, "put labelled rows there", id="no reference"),
        pytest.param(fewer_features, UnfitVersionError, "A start replaces no champion", id="other features"),
        pytest.param(other_categories, DriftloopError, "", id="other categories"),
    ],
)
def test_no_start_replaces_a_champion(
    bringing: Bringing, change: Callable[[Bringing], Any], error: type[DriftloopError] | None, says: str
) -> None:
    """Whatever has become of config and reference: it is kept, or the start fails and says why."""
    assert bringing.run("register", bringing.save(fitted())) == 0
    change(bringing)
    if error is None:
        found = start(bringing)
        assert found is not None
        assert found.version == "1"
        assert read_reference(bringing.layout, bringing.config.model).model_version == "1"
    else:
        with pytest.raises(error, match=says):
            start(bringing)
    assert bringing.champion == "1"
    assert len(mlflow.MlflowClient().search_model_versions(f"name='{bringing.name}'")) == 1
