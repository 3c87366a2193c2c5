"""A trainer: a scikit-learn Pipeline that scales numbers, and knows each level of a category by an indicator.

retrain:
trainer: docs.examples.trainers.pipeline:train
"""

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from monitoring.contract.config import Config


def train(rows: pd.DataFrame, config: Config) -> Pipeline:
    """Return a pipeline that is fitted on the rows."""
    model = config.model
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    columns = make_column_transformer(
        (numbers, list(model.of_kind("numeric"))),
        (OneHotEncoder(handle_unknown="ignore", min_frequency=5), list(model.of_kind("categorical"))),
    )
    learner = LogisticRegression(max_iter=1000) if model.categories else Ridge()
    return make_pipeline(columns, learner).fit(rows[list(model.features)], rows[model.target])
