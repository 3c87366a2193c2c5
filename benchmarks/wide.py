"""Wide data: the commands `report` and `backtest` as processes of their own, and the series of one look, by features.

Features are roots of products of the pixels of scikit-learn's digits, so that they are coarse and depend on each other.

    python -m benchmarks.wide [--features 13 50 200 500] [--rows 20000]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from sklearn.datasets import load_digits

START = 1_750_000_000_000_000  # microseconds
EVERY = 60_000_000
REFERENCE_ROWS = 2_000


def draw(features: int, rows: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    pixels, digits = load_digits(return_X_y=True)
    left, right = np.random.default_rng(1).integers(0, pixels.shape[1], (2, features))
    places = rng.integers(0, len(pixels), rows)
    values = np.sqrt(pixels[places][:, left] * pixels[places][:, right]) + rng.standard_normal((rows, features)) / 5
    columns = {f"f{n}": values[:, n] for n in range(features)}
    columns |= {"predicted": digits[places].astype(str), "actual": digits[places].astype(str)}
    columns |= {"timestamp": pa.array(START + EVERY * np.arange(rows), pa.timestamp("us", "UTC"))}
    return pa.table(columns | {"prediction_id": [f"{n:032x}" for n in range(rows)]})


def write(folder: Path, features: int, rows: int) -> None:
    reference = draw(features, REFERENCE_ROWS, 1).drop_columns(["timestamp", "prediction_id"])
    pq.write_table(reference, folder / "ref.parquet")
    pq.write_table(draw(features, rows, 2), folder / "log.parquet")
    built_in = yaml.safe_load(Path("monitoring/config.yml").read_text(encoding="utf-8"))
    model = {"name": "wide", "features": [f"f{n}" for n in range(features)], "prediction": "predicted"}
    built_in["model"] = model | {"target": "actual", "label": "digit", "categories": [str(n) for n in range(10)]}
    built_in["drift"]["columns"] = {"predicted": built_in["drift"]["columns"]["predicted_genre"]}
    (folder / "config.yml").write_text(yaml.safe_dump(built_in), encoding="utf-8")


def seconds(folder: Path, *command: str) -> float:
    begun = time.monotonic()
    run = [sys.executable, "-m", "monitoring", *command, "--reference", str(folder / "ref.parquet")]
    done = subprocess.run([*run, "--config", str(folder / "config.yml")], capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1}:
        sys.exit(done.stderr)
    return time.monotonic() - begun


def series(path: Path) -> int:
    """Return how many series a file of OpenMetrics holds."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return len({line.rpartition("} ")[0] for line in lines if not line.startswith("#")})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, nargs="+", default=[13, 50, 200, 500])
    parser.add_argument("--rows", type=int, default=20_000)
    options = parser.parse_args()
    print("| features | profile | report | backtest | series |\n|---|---|---|---|---|")
    for features in options.features:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write(folder, features, options.rows)
            log, profile, metrics = (str(folder / file) for file in ("log.parquet", "p", "m.om"))
            took = [
                seconds(folder, "profile", "--input", log, "--out", profile),
                seconds(folder, "report", "--profile", profile),
                seconds(folder, "backtest", "--log", log, "--openmetrics", metrics),
            ]
            print(f"| {features} | {' | '.join(f'{s:.1f} s' for s in took)} | {series(Path(metrics)):,} |", flush=True)


if __name__ == "__main__":
    main()
