"""The accuracy estimate without labels against the true accuracy, and the sequential test's false alarms and delays.

Streams in true order are judged beside other methods: car loan and flights, which NannyML's environment fetches (uv
makes it), and the real tracks.

python -m benchmarks.accuracy_estimate [--repeats 20] [--streams]
"""

import argparse
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from threadpoolctl import threadpool_limits

from benchmarks.estimates.chunks import estimator_of, print_streams, profile_of
from benchmarks.estimates.rows import TRACK_ROWS, Floats, Period, frame_of, save
from data.drifts import ActiveDrifts, choose, load_drifts
from data.sample import draw
from data.statistics import load_statistics
from flows.training.pipeline import predict_out_of_fold, train
from flows.training.recipes import QUADRATIC
from flows.training.sample import FOLDS, Sample
from monitoring.alarms.accuracy import AccuracyTest, floor_of
from monitoring.alarms.accuracy_estimate import Estimate
from monitoring.alarms.e_detectors import ShareDetector
from monitoring.alarms.harm import MISCOVERAGE
from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.reference import Performance

ROOT = Path(__file__).parents[1]
REAL = ROOT.parent / "shared/gtzan/mfcc_means.parquet"
DRIFTS = {  # name -> drifts of drifts.yml and their strength
    "none": ((), 1.0),
    "gain -1 dB": (("gain",), 1 / 6),
    "gain -3 dB": (("gain",), 1 / 2),
    "gain -6 dB": (("gain",), 1.0),
    "low_pass": (("low_pass",), 1.0),
    "noise_floor": (("noise_floor",), 1.0),
    "genre_mix 40 %": (("genre_mix",), 0.4),
}
ROWS, WINDOW, WINDOWS = 1_000, 1_000, 5  # of the drawn reference, of a window, windows a reference
ACCURACY, BEFORE, LONGEST, STREAMS = 0.8, 2_000, 30_000, 100

Rows = Callable[[np.random.Generator, Mapping[str, float] | None], Sample]


@dataclass(frozen=True)
class Trial:
    """One window's estimate and its true accuracy."""

    estimate: Estimate
    truth: float

    @property
    def covered(self) -> bool:
        return self.estimate.low <= self.truth <= self.estimate.high


def drawn(config: Config, rng: np.random.Generator) -> tuple[Sample, Rows]:
    """Return a reference that is drawn from the collection's figures, and what draws windows like it."""
    statistics = load_statistics(config.model)

    def rows(rng: np.random.Generator, mix: Mapping[str, float] | None, number: int = WINDOW) -> Sample:
        values, names = draw(statistics, rng, number, mix)
        return Sample(values.astype(np.float32), names.astype(object))

    return rows(rng, None, ROWS), rows


def real(config: Config, rng: np.random.Generator) -> tuple[Sample, Rows]:
    """Return a random 500 of the real tracks as the reference, and the others as the window."""
    table = pq.read_table(REAL)
    features = np.column_stack([table[name].to_numpy() for name in config.model.features]).astype(np.float32)
    tracks = Sample(features, np.array(table[config.model.target].to_pylist(), dtype=object))
    order = rng.permutation(len(tracks.labels))
    others = tracks.take(order[500:])

    def rows(rng: np.random.Generator, mix: Mapping[str, float] | None) -> Sample:
        if mix is None:
            return others
        weights = np.array([mix[label] for label in others.labels])
        return others.take(rng.choice(len(weights), len(weights) // 2, replace=False, p=weights / weights.sum()))

    return tracks.take(order[:500]), rows


def trials(config: Config, reference: Sample, rows: Rows, rng: np.random.Generator, windows: int) -> Iterator:
    """Yield (drift, trial) of one reference's model."""
    model, known, baseline = config.model, load_drifts(), dict.fromkeys(config.model.categories, 1.0)
    answers = predict_out_of_fold(reference)
    predicted, confidence = answers.predicted, answers.confidence
    held = Period(confidence, predicted == reference.labels, reference.features)
    pipeline, estimator = train(reference), estimator_of(held, model, timed=False)
    for name, (names, strength) in DRIFTS.items():
        drifts: ActiveDrifts = choose(known, names, model, strength)
        for _ in range(windows):
            sample = rows(rng, drifts.mix(baseline) if any(known[n].mix for n in names) else None)
            features = drifts.apply(sample.features, model.features, rng).astype(np.float32)
            probabilities = pipeline.predict_proba(features)
            right = pipeline.classes_[probabilities.argmax(axis=1)] == sample.labels
            window = Period(probabilities.max(axis=1), right, features)
            estimate = estimator.estimate(profile_of(window, model), minimum_rows=100)
            assert estimate is not None
            yield name, Trial(estimate, float(right.mean()))


def save_tracks(folder: Path, config: Config, seed: int) -> dict[str, list[int]]:
    """Save real tracks as a stream, the others under one drift after the other; return each drift's chunks."""
    model, rng, known = config.model, np.random.default_rng(seed), load_drifts()
    reference, rows = real(config, rng)
    pipeline, frames, places = train(reference), [], {}
    classes, shares = [str(name) for name in pipeline.classes_], out_of_fold(reference)
    frames.append(frame_of(["reference"] * len(shares), classes, shares, reference.labels, reference.features))
    for number, (name, (names, strength)) in enumerate(DRIFTS.items()):
        drifts = choose(known, names, model, strength)
        mix = drifts.mix(dict.fromkeys(model.categories, 1.0)) if any(known[n].mix for n in names) else None
        several = [rows(rng, mix) for _ in range(1 if mix is None else 2)]  # another mix keeps half of the tracks
        sample = several[0] if mix is None else several[0].extended(several[1])
        features = drifts.apply(sample.features, model.features, rng).astype(np.float32)
        frame = frame_of(
            ["analysis"] * len(features), classes, pipeline.predict_proba(features), sample.labels, features
        )
        frames.append(frame)
        chunks = len(frame) // TRACK_ROWS
        places[name] = list(range(number * chunks, (number + 1) * chunks))
    save(folder, f"tracks_{seed}", pd.concat(frames))
    return places


def out_of_fold(sample: Sample) -> Floats:
    """Return each row's probabilities (n, classes) by a pipeline that has not seen it."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    shares: Floats = cross_val_predict(
        QUADRATIC.build(()), sample.features, sample.labels, cv=folds, method="predict_proba"
    )
    return shares


def print_estimates(title: str, source: Callable, config: Config, repeats: int, windows: int) -> None:
    found: dict[str, list[Trial]] = {name: [] for name in DRIFTS}
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        reference, rows = source(config, rng)
        for name, trial in trials(config, reference, rows, rng, windows):
            found[name].append(trial)
    print(f"\n{title}: {repeats} references, {len(found['none'])} windows of each drift\n")
    print(
        "| drift | true accuracy | estimate | 95 % interval, ± | estimate - truth | root mean square | truth inside |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, some in found.items():
        truth, guess = (np.array(x) for x in zip(*((t.truth, t.estimate.accuracy) for t in some), strict=True))
        half = np.mean([(t.estimate.high - t.estimate.low) / 2 for t in some])
        off, covered = guess - truth, np.mean([t.covered for t in some])
        print(
            f"| {name} | {truth.mean():.3f} | {guess.mean():.3f} | {half:.3f} | {off.mean():+.3f} "
            f"| {np.sqrt(np.mean(off**2)):.3f} | {covered:.0%} |"
        )


def between_alarms(accuracy: float, floor: float, threshold: float, rows: int, rng: np.random.Generator) -> float:
    """Return the labelled rows between two false alarms, the test beginning anew after each."""
    alarms, detector = 0, ShareDetector(floor, 0)
    for _ in range(rows // 5_000):
        outcomes = rng.random(5_000) < accuracy
        while (place := detector.add(outcomes, threshold)) is not None:
            alarms, detector, outcomes = alarms + 1, ShareDetector(floor, 0), outcomes[place + 1 :]
    return rows / alarms if alarms else float("inf")


def print_promise(rng: np.random.Generator) -> None:
    print("\nLabelled rows between false alarms; the accuracy is 80 %, the tolerance 0\n")
    print(
        "| promised | held-out rows | accuracy at the bound itself | promotions drawn, harmonic mean | worst of them |"
    )
    print("|---|---|---|---|---|")
    for promised in (1_000, 20_000):
        threshold = math.log10(promised / (1 - MISCOVERAGE))
        for rows in (300, 1_000):
            test = AccuracyTest(Performance(ACCURACY, rows), tolerance=0.0)
            edge = between_alarms(test.floor, test.floor, threshold, 200 * promised, rng)
            times = []
            for right in rng.binomial(rows, ACCURACY, 40):
                floor = floor_of(Performance(right / rows, rows), 0.0)
                times.append(between_alarms(ACCURACY, floor, threshold, 20 * promised, rng))
            shown = [
                "none seen" if np.isinf(t) else f"{t:,.0f}" for t in (1 / np.mean(1 / np.array(times)), min(times))
            ]
            print(f"| {promised:,} | {rows:,} | {edge:,.0f} | {shown[0]} | {shown[1]} |")


def print_detection(rng: np.random.Generator) -> None:
    print(
        f"\nLabelled rows from a fall of the accuracy (from 80 %, after {BEFORE:,} rows) to its alarm: median and 9th "
        f"decile of {STREAMS} streams of {LONGEST:,} rows; one false alarm in 20,000 rows promised; the end of the "
        "alarm after the accuracy is back, median\n"
    )
    print("| held-out rows | tolerance | fall by | alarm after | 9 of 10 | never | false alarms before | over after |")
    print("|---|---|---|---|---|---|---|---|")
    for rows in (300, 1_000, 5_000):
        for tolerance in (0.0, 0.02):
            for fall in (0.05, 0.1, 0.2):
                times, ends, false = [], [], 0
                for right in rng.binomial(rows, ACCURACY, STREAMS):
                    test = AccuracyTest(Performance(right / rows, rows), tolerance=tolerance)
                    test.add(rng.random(BEFORE) < ACCURACY, 20_000)
                    false += test.verdict().detected
                    if not test.verdict().detected:
                        times.append(rows_until(test, ACCURACY - fall, rng, detected=True))
                        ends += [rows_until(test, ACCURACY, rng, detected=False)] if test.verdict().detected else []
                never = np.mean(np.isinf(times))
                shown = [f"{x:,.0f}" if np.isfinite(x) else "-" for x in np.quantile(times, (0.5, 0.9), method="lower")]
                over = np.quantile(ends, 0.5, method="lower") if ends else np.inf
                print(
                    f"| {rows:,} | {tolerance:.2f} | {fall:.2f} | {shown[0]} | {shown[1]} | {never:.0%} | {false} "
                    f"| {f'{over:,.0f}' if np.isfinite(over) else '-'} |"
                )


def rows_until(test: AccuracyTest, accuracy: float, rng: np.random.Generator, *, detected: bool) -> float:
    """Return after how many rows, to a hundred, the verdict is this; infinity if it is not within LONGEST."""
    for rows in range(100, LONGEST + 1, 100):
        test.add(rng.random(100) < accuracy, 20_000)
        if test.verdict().detected == detected:
            return rows
    return float("inf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20, help="references (default: %(default)s)")
    parser.add_argument("--streams", action="store_true", help="only the streams in true order")
    options = parser.parse_args()
    repeats, config = options.repeats, load_config(ROOT / "monitoring/config.yml")
    with tempfile.TemporaryDirectory(prefix="driftloop-") as temporary, threadpool_limits(1):
        folder = Path(temporary)
        tracks = {f"tracks_{n}": save_tracks(folder, config, n) for n in range(repeats if REAL.exists() else 0)}
        print_streams(folder, config.model, tracks)
    if options.streams:
        return
    print(f"\nReferences of {ROWS:,} drawn rows or 500 real tracks, windows of {WINDOW:,} or 298.")
    print_estimates("Drawn from the collection's figures", drawn, config, repeats, WINDOWS)
    if REAL.exists():
        print_estimates("Real tracks, split at random", real, config, repeats, 1)
    rng = np.random.default_rng(0)
    print_promise(rng)
    print_detection(rng)


if __name__ == "__main__":
    main()
