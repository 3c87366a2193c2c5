"""Faults put into a log in which nothing else has changed, beside peers at the same measured share of time in alarm."""

import copy
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.alarms.traffic import blame, flights, halves, peers, streams, watch
from benchmarks.alarms.traffic.packages import ROOT, UV
from monitoring.alarms.drift.scores import Observations

NAME = "coded"  # the set of features that are watched: a carrier that has gone shows in no other
MISSING, LATER = 0.05, 0.1
NEAR = 1.1
AS_QUIET = 0.005  # of the time: a peer that cannot be tuned to be about as quiet as ours is no faster
ENVIRONMENTS = {
    "nannyml_day": ("nannyml==0.13.1", "statsmodels", "setuptools<81"),
    "nannyml_1000": ("nannyml==0.13.1", "statsmodels", "setuptools<81"),
    "adwin": ("river==0.26.1",),
    "evidently": (),
    "hour_of_week": (),
}


def broken(fault: str, head: pd.DataFrame, tail: pd.DataFrame, rng: np.random.Generator) -> Observations:
    """Return the rows from the fault on, as the log would hold them."""
    model, rows, predictions = flights.model(NAME), tail.copy(), None
    if fault == "kilometres":
        rows["distance"] *= 1.60934
    elif fault == "celsius":
        rows["temp"] = (rows.temp - 32) / 1.8
    elif fault == "hour":
        rows["sched_min"] += 60
    elif fault == "frozen":
        origin = rng.choice(np.unique(rows.origin))
        rows.loc[rows.origin == origin, flights.WEATHER] = (
            head[head.origin == origin][flights.WEATHER].iloc[-1].to_numpy()
        )
    elif fault == "missing":
        rows.loc[rng.random(len(rows)) < MISSING, rng.choice(model.names)] = np.nan
    elif fault == "carrier":
        rows = rows[rows.carrier != rng.choice(["UA", "B6", "EV", "DL"])]
    elif fault == "late":
        predictions = model.predict(rows)
        share = LATER / (1 - predictions.mean())
        predictions = np.where(rng.random(len(rows)) < share, 1, predictions)
    return model.observe(rows, predictions)


def stream_of(rows: Observations) -> streams.Stream:
    """Return rows as the peers read them."""
    assert rows.times is not None
    local = pd.DatetimeIndex(rows.times.astype("datetime64[us]")).tz_localize("UTC").tz_convert(flights.ZONE)
    hours = local.tz_localize(None).astype("datetime64[us]").astype("int64") // int(streams.HOUR)
    return streams.Stream(rows.features, rows.predictions, rows.times, np.asarray(hours))


def one(job: tuple[int, Path]) -> dict[str, Any]:
    """Write one half's streams for the peers, and let our detector find each fault; see `peers.measure`."""
    number, folder = job
    model, rng = flights.model(NAME), np.random.default_rng([11, number])
    known, rows = halves.halves("rows", number)
    reference, log = model.observe(known), model.observe(rows)
    at = int(len(log) * rng.uniform(0.25, 0.75)) // watch.STEP * watch.STEP
    tails = {fault: broken(fault, rows.iloc[:at], rows.iloc[at:], rng) for fault in streams.FAULTS}
    for name, some in {"reference": reference, "log": log, **tails}.items():
        streams.write(folder, f"{number}.{name}", stream_of(some))
    np.save(folder / f"{number}.begin.npy", at)

    kept = watch.Watch.of(reference, len(flights.CATEGORIES))
    promise, detector = watch.promised_rows(log), kept.start()
    inside, delays = 0, dict[str, dict[str, Any]]()
    assert log.times is not None
    for begin in range(0, len(log), watch.STEP):
        if begin == at:
            for fault, tail in tails.items():
                watched = copy.copy(detector)
                found = _find(watched, tail, promise)
                delays[fault] = peers.delay(found, stream_of(tail))
                if found[0] == "at":
                    delays[fault] |= blame.describe(kept, model.names, watched, log.take(slice(0, at)), tail)
                    delays[fault]["changed"] = sorted(blame.changed(model.names, log.take(slice(at, None)), tail))
        if watch.step(detector, log, begin, promise) is not None:
            inside += int(log.times[min(begin + watch.STEP, len(log) - 1)] - log.times[begin])
    return {"share": inside / float(log.times[-1] - log.times[0]), "delays": delays}


def _find(detector: Any, tail: Observations, promise: float) -> tuple[str, int]:
    if detector.status().alarm is not None:
        return "before", 0
    for begin in range(0, len(tail), watch.STEP):
        if alarm := watch.step(detector, tail, begin, promise):
            return "at", int(np.searchsorted(tail.times, alarm.noticed, "right"))
    return "silent", len(tail)


def ours(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the halves' findings as those of a peer."""
    delays = {fault: [half["delays"][fault] for half in found] for fault in streams.FAULTS}
    share = float(np.mean([half["share"] for half in found]))
    return {"peer": "driftloop", "label": "Driftloop", "setting": None, "share": share, "delays": delays}


def run_peer(name: str, folder: Path, share: float, out: Path) -> str:
    """Measure one peer in its own environment; return how it went."""
    wanted = [word for package in ENVIRONMENTS[name] for word in ("--with", package)]
    uv = [UV, "run", "--no-project", "--isolated", "--python", sys.executable, *wanted, "python"]
    words = [*(uv if wanted else [sys.executable]), "-m", "benchmarks.alarms.traffic.peers", name, folder, str(share)]
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | one
    path = out / f"peer-{name}.json"
    path.unlink(missing_ok=True)
    begun = time.perf_counter()
    done = subprocess.run([*words, path], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if not done.returncode:
        return f"{name}: {time.perf_counter() - begun:.0f} s"
    return f"{name} is left out: {(done.stderr.strip().splitlines() or ['?'])[-1]}"


def run_peers(folder: Path, share: float, out: Path, workers: int) -> None:
    """Measure all peers, so many at a time."""
    with ThreadPoolExecutor(workers) as pool:
        for line in pool.map(lambda name: run_peer(name, folder, share, out), ENVIRONMENTS):
            print(line, flush=True)


def middle(several: list[dict[str, Any]], what: str) -> float:
    """Return the median rows or hours to detection; infinity if most runs were silent, NaN if none counts."""
    counted = [one[what] if one["kind"] == "at" else np.inf for one in several if one["kind"] != "before"]
    return float(np.quantile(counted, 0.5, method="higher")) if counted else np.nan


def table(results: list[dict[str, Any]]) -> str:
    """Return rows and hours to detection as Markdown, a line per method; the fastest in bold, and who is near."""
    return "\n".join(_lines(results))


def _lines(results: list[dict[str, Any]]) -> Iterator[str]:
    quiet = [r for r in results if r["share"] <= results[0]["share"] + AS_QUIET]
    fastest = {fault: np.nanmin([middle(r["delays"][fault], "rows") for r in quiet]) for fault in streams.FAULTS}
    yield "| method | setting | time in alarm | " + " | ".join(streams.FAULTS.values()) + " |"
    yield "|---|---|---|" + "---|" * len(streams.FAULTS)
    for result in results:
        cells = []
        for fault, several in result["delays"].items():
            rows, hours = middle(several, "rows"), middle(several, "hours")
            silent = sum(one["kind"] == "silent" for one in several)
            counted = sum(one["kind"] != "before" for one in several)
            text = "in alarm" if not counted else "silent" if np.isinf(rows) else f"{rows:,.0f}, {hours:,.1f} h"
            text = f"**{text}**" if result in quiet and rows < np.inf and rows <= NEAR * fastest[fault] else text
            cells.append(text + (f" ({silent} of {counted} silent)" if silent else ""))
        setting = "" if result["setting"] is None else f"{result['setting']:.3g}"
        yield f"| {result['label']} | {setting} | {result['share']:.1%} | " + " | ".join(cells) + " |"
