"""A trainer: boosted trees of numbers and categories, from the reference's rows too, the newer rows counting more.

retrain:
trainer: docs.examples.trainers.boosted_trees:train
"""

import os

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from monitoring.contract.config import Config


def train(rows: pd.DataFrame, config: Config) -> Pipeline:
    """Return trees that are fitted on the new rows, and on the reference's with a tenth of their weight."""
    model = config.model
    reference = pd.read_parquet(os.environ["TRAINER_REFERENCE"])
    both = pd.concat([reference, rows])
    weights = np.repeat([0.1, 1.0], [len(reference), len(rows)])
    levels = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = make_column_transformer((levels, list(model.of_kind("categorical"))), remainder="passthrough")
    trees = HistGradientBoostingClassifier if model.categories else HistGradientBoostingRegressor
    pipeline = make_pipeline(columns, trees(max_iter=200, learning_rate=0.05))
    step = pipeline.steps[-1][0]
    return pipeline.fit(both[list(model.features)], both[model.target], **{f"{step}__sample_weight": weights})
