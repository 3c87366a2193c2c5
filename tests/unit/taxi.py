"""Trips as pandas users have them, and a config for them: what the commands are given in tests."""

from pathlib import Path

import numpy as np
import pandas as pd

from monitoring.__main__ import main

CONFIG = """model:
  name: taxi
  features: [trip_distance, fare_amount, passenger_count]
  prediction: predicted_tip
  target: tip
  label: tip
  categories: ["no", "yes"]
metrics: {feature_prefix: taxi}
window: {rows: 1000}
minimum_rows: 200
minimum_labels: 100
drift:
  default: {test: ks, threshold: 0.001}
tests:
  - TestNumberOfColumnsWithMissingValues: {lte: 0}
  - TestColumnDrift
  - TestAccuracyScore: {gte: 0.4}
retrain: {rows: 4000, minimum_labels: 400, holdout: 0.3, minimum_gain: 0.0}
"""


def trips(number: int, seed: int = 0) -> pd.DataFrame:
    """Draw trips, half of them labelled as predicted."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "trip_distance": rng.gamma(2, 1.5, number).round(1),
            "fare_amount": rng.choice([2.7, 5.1, 8.3, 12.7, 52.1], number),
            "passenger_count": rng.integers(1, 6, number),
            "predicted_tip": rng.choice(["no", "yes"], number),
            "tip": rng.choice(["no", "yes"], number),
        }
    )


class Desk:
    """A folder with a config and a reference, at which the commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "taxi.yml").write_text(CONFIG)
        trips(2000, seed=1).to_parquet(folder / "reference.parquet")
        self._common = ["--reference", str(folder / "reference.parquet"), "--config", str(folder / "taxi.yml")]

    def profile(self, source: object, *more: str) -> int:
        """Profile a data set."""
        return main(["profile", "--input", str(source), "--out", str(self.folder / "_p"), *self._common, *more])

    def report(self, *more: str) -> int:
        """Report on the last profile."""
        return main(["report", "--profile", str(self.folder / "_p"), *self._common, *more])

    def backtest(self, log: object, *more: str) -> int:
        """Replay a log, without rules."""
        return main(["backtest", "--log", str(log), *self._common, "--every", "1h", *more])
