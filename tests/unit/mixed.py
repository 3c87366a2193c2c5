"""Two models with mixed features, a regression and a classification, and tables of their rows."""

from typing import Any

import numpy as np
import pyarrow as pa

from monitoring.contract.config import Config
from tests.unit.models import WINE

ZONES = ("harbour", "museum", "old town", "station", "university")
_FEATURES = {"distance": "numeric", "passengers": "numeric", "zone": "categorical", "airport": "categorical"}
_TRIPS: dict[str, Any] = {
    "name": "trip-minutes",
    "task": "regression",
    "features": _FEATURES,
    "prediction": "predicted_minutes",
    "target": "minutes",
}
_TIPS: dict[str, Any] = {
    "name": "tips",
    "features": _FEATURES,
    "prediction": "predicted_tip",
    "target": "tip",
    "label": "answer",
    "categories": ["no", "yes"],
}


def trips(**changes: Any) -> Config:
    """Return the config of a regression with two numeric and two categorical features."""
    return Config.model_validate({**WINE, "model": _TRIPS, "metrics": {"feature_prefix": "trip"}, **changes})


def tips(**changes: Any) -> Config:
    """Return the config of a classification of the same features."""
    return Config.model_validate({**WINE, "model": _TIPS, "metrics": {"feature_prefix": "trip"}, **changes})


def trip_rows(rows: int, seed: int = 0, *, strength: float = 1.0) -> dict[str, pa.Array]:
    """Draw columns of features, predictions and labels of both models, with types as pandas writes them.

    `airport` is boolean and sometimes null, `passengers` whole; minutes grow with the distance, by `strength` more at
    the station.
    """
    rng = np.random.default_rng(seed)
    distance = np.round(rng.lognormal(1.0, 0.6, rows), 2)
    zone = rng.choice(ZONES, rows, p=(0.1, 0.15, 0.25, 0.4, 0.1))
    airport = rng.random(rows) < 0.2
    minutes = 4 + 3 * distance + strength * 5 * (zone == "station") + 6 * airport
    return {
        "distance": pa.array(distance),
        "passengers": pa.array(rng.integers(1, 5, rows)),
        "zone": pa.array(zone),
        "airport": pa.array(airport, mask=rng.random(rows) < 0.01),
        "predicted_minutes": pa.array(np.round(minutes + rng.normal(0, 1, rows), 3)),
        "minutes": pa.array(np.round(minutes + rng.normal(0, 2, rows), 1)),
        "predicted_tip": pa.array(np.where(minutes > 15, "yes", "no")),
        "tip": pa.array(np.where(minutes + rng.normal(0, 2, rows) > 15, "yes", "no")),
    }
