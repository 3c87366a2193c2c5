"""A registry in a file, a reference of wines, and the commands that bring a model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import mlflow
import pyarrow.parquet as pq
import pytest
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from flows.__main__ import main
from flows.registry.versions import version_of
from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.layout import Layout
from monitoring.contract.names import CHAMPION
from tests.unit.flows_fixtures import draw_wine
from tests.unit.models import write_config


@pytest.fixture(scope="module", name="tracking")
def tracking_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    yield folder
    mlflow.set_tracking_uri("")


class Bringing:
    """A registry with no champion, a reference of wines, and the commands."""

    def __init__(self, folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.name, self._capsys = folder, name, capsys
        self.path = write_config(folder, name, minimum_labels=100)
        self.config = load_config(self.path)
        self.layout = Layout(folder / "data")
        self.said, self.refused = "", ""

    def configure(self, model: dict[str, Any] | None = None, **changes: Any) -> Config:
        """Change keys of the config and of its section `model`."""
        content = yaml.safe_load(self.path.read_text())
        content = {**content, **changes, "model": {**content["model"], **(model or {})}}
        self.path.write_text(yaml.safe_dump(content))
        self.config = load_config(self.path)
        return self.config

    def put_reference(self, rows: int = 300) -> None:
        self.layout.root.mkdir(parents=True, exist_ok=True)
        pq.write_table(draw_wine(rows, seed=8), self.layout.reference)

    def save(self, model: Any, name: str = "model.joblib") -> str:
        joblib.dump(model, self.folder / name)
        return str(self.folder / name)

    def run(self, command: str, model: str, *more: str) -> int:
        code = main([command, "--model", model, "--config", str(self.path), *more])
        self.said, self.refused = self._capsys.readouterr()
        return code

    @property
    def champion(self) -> str | None:
        return version_of(self.name, CHAMPION)


@pytest.fixture(name="bringing")
def bringing_to_wine(
    tracking: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Bringing:
    name = f"wine-{abs(hash(request.node.name))}"
    mlflow.create_experiment(name, artifact_location=str(tracking / name))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tracking}/mlflow.db")
    found = Bringing(tmp_path, name, capsys)
    found.put_reference()
    return found


def fitted(shift: float = 0.0, *, columns: Any = None, labels: Any = None) -> Any:
    """Fit as a user does: on a data frame, whose columns have their names."""
    frame = draw_wine(300, shift=shift, seed=1).to_pandas()
    truth = frame.pop("truth")
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(
        frame[columns or list(frame)], truth if labels is None else truth.map(labels)
    )
