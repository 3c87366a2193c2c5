"""A trainer: LightGBM, which splits by sets of categories (the extra `convert`: `uv sync --extra convert`).

retrain:
trainer: docs.examples.trainers.lightgbm_trees:train
"""

import pandas as pd
from lightgbm import LGBMClassifier, LGBMModel, LGBMRegressor

from monitoring.contract.config import Config


def train(rows: pd.DataFrame, config: Config) -> LGBMModel:
    """Return trees that are fitted on the rows, with their levels as pandas' categories."""
    model = config.model
    features = rows[list(model.features)].astype(dict.fromkeys(model.of_kind("categorical"), "category"))
    learner = LGBMClassifier if model.categories else LGBMRegressor
    return learner(n_estimators=100, learning_rate=0.05, random_state=0, verbose=-1).fit(features, rows[model.target])
