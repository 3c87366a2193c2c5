"""The models that tests watch: the built-in one, and two of other names and kinds."""

from pathlib import Path
from typing import Any

import yaml

from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from tests.processes import ROOT

GENRES = load_config(ROOT / "monitoring/config.yml")

# Four features of other names, two categories, no audio.
WINE = {
    "model": {
        "name": "wine",
        "features": ["acidity", "sugar", "alcohol", "density"],
        "prediction": "guess",
        "target": "truth",
        "label": "colour",
        "categories": ["red", "white"],
    },
    "metrics": {"feature_prefix": "wine"},
    "window": {"rows": 500},
    "minimum_rows": 100,
    "minimum_labels": 50,
    "drift": {"default": {"test": "ks", "threshold": 0.05}},
    "tests": ["TestColumnDrift"],
    "retrain": {"rows": 1000, "minimum_labels": 100, "holdout": 0.3, "minimum_gain": 0.0},
}


def write_config(folder: Path, name: str = "wine", **retrain: Any) -> Path:
    """Write the config of the wine model, under a name and with other settings of its retraining."""
    path = folder / "wine.yml"
    model = {**WINE["model"], "name": name}
    path.write_text(yaml.safe_dump({**WINE, "model": model, "retrain": {**WINE["retrain"], **retrain}}))
    return path


def wine(folder: Path, **retrain: Any) -> Config:
    return load_config(write_config(folder, **retrain))


# Columns that have the names which Evidently takes for its own when nobody says otherwise.
_LOANS = {
    "model": {
        "name": "loans",
        "features": ["age", "income", "debt", "years"],
        "prediction": "prediction",
        "target": "target",
        "label": "answer",
        "categories": ["no", "yes"],
    },
    "metrics": {"feature_prefix": "loan"},
    "window": {"rows": 500},
    "minimum_rows": 50,
    "minimum_labels": 20,
    "drift": {"default": {"test": "ks", "threshold": 0.05}},
    "tests": [
        {"TestNumberOfColumnsWithMissingValues": {"lte": 0}},
        {"TestNumberOfRowsWithMissingValues": {"lte": 10}},
        {"TestNumberOfConstantColumns": {"lte": 0}},
        {"TestNumberOfDuplicatedRows": {"lte": 5}},
        "TestColumnsType",
        {"TestNumberOfDriftedColumns": {"lt": 2}},
        "TestColumnDrift",
        {"TestAccuracyScore": {"gte": 0.4}},
        {"TestF1Score": {"gte": 0.4}},
    ],
    "retrain": {"rows": 1000, "minimum_labels": 100, "holdout": 0.3, "minimum_gain": 0.0},
}


def loans(**changes: Any) -> Config:
    """Return the config of another model: four features of other names, a binary prediction."""
    return Config.model_validate(_LOANS | changes)


LOANS = loans()
