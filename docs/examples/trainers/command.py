"""A training script that knows nothing of this project, and leaves an estimator; any language may leave model.onnx.

retrain:
command: [python, docs/examples/trainers/command.py, acidity, sugar, --target, truth]
"""

import argparse
import os
from pathlib import Path

import joblib
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

parser = argparse.ArgumentParser()
parser.add_argument("features", nargs="+")
parser.add_argument("--target", required=True)
options = parser.parse_args()

rows = pd.read_parquet(os.environ["TRAINER_ROWS"])
model = make_pipeline(SimpleImputer(), RandomForestClassifier(n_estimators=50, min_samples_leaf=5, random_state=0))
model.fit(rows[options.features], rows[options.target])
print(f"trained on {len(rows)} rows")  # noqa: T201 - it goes into the run's log
joblib.dump(model, Path(os.environ["TRAINER_OUTPUT"]) / "model.joblib")
