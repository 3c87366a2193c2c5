"""The estimate of a regression's error without labels, beside NannyML's direct loss estimation, on its car prices.

NannyML's environment is made by uv. Both are held against the labels of the log's chunks in their order.

python -m benchmarks.loss_estimate [--rows 1000]
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[1]
NUMERIC = ("car_age", "km_driven", "price_new", "accident_count", "door_count")
CATEGORICAL = ("fuel", "transmission")
REFERENCE, LOG, NANNYML = "reference.parquet", "log.parquet", "nannyml.csv"


def ours(reference: pd.DataFrame, log: pd.DataFrame, rows: int) -> pd.DataFrame:
    """Return the monitor's estimate for each whole chunk of the log."""
    import pyarrow as pa  # noqa: PLC0415 - NannyML's environment has none of these

    from monitoring.alarms.loss_estimate import LossEstimator  # noqa: PLC0415
    from monitoring.contract.config import Model  # noqa: PLC0415
    from monitoring.contract.reference import Reference  # noqa: PLC0415
    from monitoring.profile.counting import grid_of, profile_rows  # noqa: PLC0415

    kinds = dict.fromkeys(NUMERIC, "numeric") | dict.fromkeys(CATEGORICAL, "categorical")
    model = Model.model_validate(
        {"name": "cars", "task": "regression", "features": kinds, "prediction": "y_pred", "target": "y_true"}
    )
    columns = [*NUMERIC, *CATEGORICAL, "y_pred"]
    table = pa.Table.from_pandas(reference[[*columns, "y_true", "timestamp"]], preserve_index=False)
    grid = grid_of(model, table)
    estimator, found = LossEstimator(Reference(table, "", None, "", None), model, grid), []
    for begin in range(0, len(log) - rows + 1, rows):
        chunk = pa.Table.from_pandas(log[columns].iloc[begin : begin + rows], preserve_index=False)
        said = estimator.estimate(profile_rows(grid, chunk), 1)
        assert said is not None
        alert = said.threshold is not None and said.mae > said.threshold
        found.append((said.mae, said.low, said.high, alert))
    return pd.DataFrame(found, columns=["estimate", "low", "high", "alert"])


def theirs(folder: Path, rows: int) -> None:
    """Save the car prices, which are in the order of their times, and NannyML's estimates, in its environment."""
    import nannyml  # noqa: PLC0415

    pd.options.future.infer_string = False  # NannyML cannot take Arrow's strings
    reference, log, truth = nannyml.load_synthetic_car_price_dataset()
    log = log.merge(truth, on="id") if "id" in log.columns else log.join(truth)
    for name, frame in ((REFERENCE, reference), (LOG, log)):
        frame["timestamp"] = pd.to_datetime(frame.timestamp)
        frame.to_parquet(folder / name)
    method = nannyml.DLE(
        feature_column_names=[*NUMERIC, *CATEGORICAL],
        y_pred="y_pred",
        y_true="y_true",
        metrics=["mae"],
        chunk_size=rows,
    )
    method.fit(reference)
    found = method.estimate(log.drop(columns="y_true")).filter(period="analysis").to_df()["mae"]
    renamed = {"value": "estimate", "lower_confidence_boundary": "low", "upper_confidence_boundary": "high"}
    found.rename(columns=renamed)[["estimate", "low", "high", "alert"]].to_csv(folder / NANNYML, index=False)


def print_comparison(folder: Path, rows: int) -> None:
    """Print both methods' errors, in the target's unit, and the first's divided by the second's."""
    reference, log = (pd.read_parquet(folder / name) for name in (REFERENCE, LOG))
    chunks, absolute = len(log) // rows, (log.y_pred - log.y_true).abs().to_numpy()
    truth = absolute[: chunks * rows].reshape(chunks, rows).mean(axis=1)
    known = (reference.y_pred - reference.y_true).abs().to_numpy()
    spans = known[: len(known) // rows * rows].reshape(-1, rows).mean(axis=1)
    harmful = truth > spans.mean() + 3 * spans.std()
    methods = {"Driftloop": ours(reference, log, rows), "NannyML's DLE": pd.read_csv(folder / NANNYML)[:chunks]}
    print(
        f"car prices: {chunks} chunks of {rows:,} rows, {harmful.sum()} with a risen error; MAE {truth.mean():,.1f}\n"
    )
    print("| method | mean error | correlation | inside | in alarm: not risen | risen |\n|---|---|---|---|---|---|")
    errors = []
    for name, said in methods.items():
        guess, alarms = said.estimate.to_numpy(), said.alert.to_numpy(bool)
        errors.append(np.abs(guess - truth).mean())
        inside = ((said.low <= truth) & (truth <= said.high)).mean()
        shares = [f"{a.mean():.0%}" if a.size else "-" for a in (alarms[~harmful], alarms[harmful])]
        related = np.corrcoef(guess, truth)[0, 1]
        print(f"| {name} | {errors[-1]:.2f} | {related:.3f} | {inside:.0%} | {shares[0]} | {shares[1]} |")
    print(f"\nmean error, ours / NannyML's: {errors[0] / errors[1]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000, help="rows a chunk (default: %(default)s)")
    parser.add_argument("--nannyml", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.nannyml is not None:
        theirs(options.nannyml, options.rows)
        return
    from benchmarks.alarms.peers import command  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="driftloop-") as temporary:
        words = [*command("nannyml")[:-1], "--with", "pyarrow", "python", "-m", "benchmarks.loss_estimate"]
        words += ["--rows", str(options.rows), "--nannyml", temporary]
        environment = os.environ | {"NML_DISABLE_USAGE_LOGGING": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"NannyML's environment failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        print_comparison(Path(temporary), options.rows)


if __name__ == "__main__":
    main()
