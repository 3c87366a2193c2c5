"""The replay's DATA_DIR: its config, the reference, and the parts of both logs as the API would have sealed them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import uuid_utils
import yaml

from benchmarks.alarms.traffic import flights
from benchmarks.alarms.traffic.packages import ROOT
from flows.registry.versions import Champion
from flows.training.sample import feature_matrix
from monitoring.contract.config import Config, Model
from monitoring.contract.config_file import load_config
from monitoring.contract.layout import Layout
from monitoring.contract.parts import part_name
from monitoring.contract.reference import TIME
from monitoring.contract.schemas import TIMESTAMP, labels_schema, log_schema
from monitoring.contract.storage import Place, replaced
from monitoring.contract.times import Micros

SHIPPED = ROOT / "monitoring/config.yml"
MINIMUM_LABELS = 200


def write_config(folder: Path, features: list[str]) -> Path:
    """Write the shipped config.yml with the flights' model in it.

    All that is about alarms and retraining stays but `minimum_labels`, which half of the flights reach in half a day.
    """
    shipped = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    model = {
        "name": "flights",
        "features": features,
        "prediction": "predicted",
        "target": "arrived",
        "label": "arrival",
        "categories": list(flights.CATEGORIES),
    }
    ours = {
        "model": model,
        "metrics": {"feature_prefix": "flight"},
        "drift": {"default": shipped["drift"]["default"]},
        "timezone": flights.ZONE,
        "retrain": {**shipped["retrain"], "minimum_labels": MINIMUM_LABELS},
    }
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump({**shipped, **ours}), encoding="utf-8")
    load_config(path)
    return path


@dataclass(frozen=True)
class DataDir:
    """Where the flows and the monitor find config and files."""

    config: Config
    layout: Layout

    @property
    def model(self) -> Model:
        """Return the model in the config."""
        return self.config.model

    def write_reference(self, rows: pd.DataFrame) -> None:
        """Write a user's reference: features, target and timestamp; the flow `bootstrap` predicts it."""
        table = pa.table({**self._features(rows), self.model.target: _text(rows.label)})
        self.layout.root.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.append_column(TIME, _times(rows.timestamp)), self.layout.reference)

    def log(self, rows: pd.DataFrame, champion: Champion) -> pd.DataFrame:
        """Write a part of the prediction log, as this champion answers its rows (n > 0).

        Return the rows with `prediction_id` and `predicted`.
        """
        model, times = self.model, _times(rows.timestamp)
        predicted, probabilities = self.ask(rows, champion)
        moments = times.cast(pa.int64()).to_numpy()
        ids = [str(uuid_utils.uuid7(nanoseconds=int(moment) * 1000)) for moment in moments]
        columns = {
            "prediction_id": ids,
            "timestamp": times,
            **self._features(rows),
            model.prediction: predicted.tolist(),
            "confidence": np.nan_to_num(probabilities).max(axis=1),
            "model_version": [champion.version] * len(rows),
            model.target: pa.nulls(len(rows), pa.string()),
        }
        self._write(self.layout.current, pa.table(columns, schema=log_schema(model)), moments)
        return rows.assign(prediction_id=ids, predicted=predicted)

    def ask(self, rows: pd.DataFrame, champion: Champion) -> tuple[np.ndarray, np.ndarray]:
        """Return a champion's labels (n,) and probabilities (n, 2) of rows."""
        return champion.onnx.predict(feature_matrix(pa.table(self._features(rows)), self.model))

    def label(self, rows: pd.DataFrame, due: pd.Series) -> None:
        """Write a part of the labels that arrive for logged rows (n > 0), each when it is due."""
        times = _times(due)
        columns = {"prediction_id": rows.prediction_id.tolist(), self.model.target: _text(rows.label)}
        table = pa.table({**columns, "timestamp": times}, schema=labels_schema(self.model))
        self._write(self.layout.labels, table, times.cast(pa.int64()).to_numpy())

    def _features(self, rows: pd.DataFrame) -> dict[str, pa.Array]:
        return {name: pa.array(rows[name].to_numpy(float), from_pandas=True) for name in self.model.features}

    def _write(self, folder: Place, table: pa.Table, moments: np.ndarray) -> None:
        assert isinstance(folder, Path)
        folder.mkdir(parents=True, exist_ok=True)
        first, last = Micros(int(moments[0])), Micros(int(moments[-1]))
        with replaced(folder / part_name(first, last, len(table), "replay", 1)) as temporary:
            pq.write_table(table, temporary)


def _times(moments: pd.Series) -> pa.Array:
    return pa.array(moments.astype("datetime64[us, UTC]").astype("int64").to_numpy(), pa.int64()).cast(TIMESTAMP)


def _text(labels: pd.Series) -> pa.Array:
    return pa.array(labels, pa.string(), from_pandas=True)
