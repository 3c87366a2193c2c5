"""Promised against measured time between false alarms, over references drawn anew.

Up to a promise of 100,000 rows alarms are counted; beyond it, and beside the counts, the measured time comes from a
Gumbel law fitted to the largest evidence in each 1,000 rows.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.stats import beta

from benchmarks.alarms import streams
from benchmarks.alarms.driftloop import measured
from benchmarks.alarms.peers import REFERENCE, reference_of
from monitoring.alarms.drift.calibration import STRETCH

SIZES = (200, 800, 3_000)
REFERENCES = 50
STRETCHES, STRETCH_ROWS = 3, 100_000  # steady rows per reference: 300,000
PROMISES = (10_000, 100_000, 1_000_000)
COUNTED = {10_000: "4", 100_000: "5"}


@dataclass(frozen=True)
class Measured:
    """One reference: rows between alarms by promise, counted (None beyond what is counted) and by the law."""

    size: int
    counted: dict[int, float | None]
    law: dict[int, float]


def one(arguments: tuple[str, int, int]) -> Measured:
    """Draw one reference and its steady rows, and measure; at the peers' size it is theirs, calibrated already."""
    source_name, size, number = arguments
    source = getattr(streams, source_name)()
    reference = (
        reference_of(source, number)
        if size == REFERENCE
        else source.steady(np.random.default_rng([3, size, number]), size)
    )
    rng = np.random.default_rng([4, size, number])
    maxima, alarms = measured(reference, [source.steady(rng, STRETCH_ROWS) for _ in range(STRETCHES)])
    rows = STRETCHES * STRETCH_ROWS
    counted = {p: rows / max(alarms[COUNTED[p]], 0.5) if p in COUNTED else None for p in PROMISES}
    return Measured(size, counted, {p: time_between(np.array(maxima), np.log10(p)) for p in PROMISES})


def time_between(maxima: streams.npt.NDArray[np.float64], rarity: float) -> float:
    """Return the rows between alarms at a threshold, from the upper half of stretches' maxima (Gumbel's law)."""
    ordered = np.sort(maxima)[len(maxima) // 2 :]
    reduced = -np.log(-np.log((np.arange(len(maxima)) + 0.5) / len(maxima)))[len(maxima) // 2 :]
    slope, intercept = np.polyfit(ordered, reduced, 1)
    return float(STRETCH * np.exp(intercept + slope * rarity))


def interval(kept: int, number: int) -> tuple[float, float]:
    """Return the 95 % Clopper-Pearson interval of a share."""
    low = beta.ppf(0.025, kept, number - kept + 1) if kept else 0.0
    high = beta.ppf(0.975, kept + 1, number - kept) if kept < number else 1.0
    return float(low), float(high)


def table(found: list[Measured]) -> str:
    """Return promised against measured, as Markdown."""
    lines = [
        "| reference | promised | median measured | least of 20 | references that keep it | 95 % interval | counted |",
        "|---|---|---|---|---|---|---|",
    ]
    for size in sorted({m.size for m in found}):
        for promise in PROMISES:
            law = np.array([m.law[promise] for m in found if m.size == size])
            kept = int((law >= promise).sum())
            low, high = interval(kept, len(law))
            counts = np.array([m.counted[promise] for m in found if m.size == size and m.counted[promise]], float)
            share = f"{(counts >= promise).mean():.0%}" if len(counts) else "extrapolated"
            lines.append(
                f"| {size:,} rows | {promise:,} | {np.median(law):,.0f} | {np.quantile(law, 0.05):,.0f} | "
                f"{kept} of {len(law)} | {low:.0%} to {high:.0%} | {share} |"
            )
    return "\n".join(lines)


def run(source: str, out: Path, references: int, workers: int) -> list[Measured]:
    """Measure all sizes on so many processes, and keep what was measured."""
    # the largest first, so that the processes end at about the same time
    jobs = [(source, size, number) for size in sorted(SIZES, reverse=True) for number in range(references)]
    with ProcessPoolExecutor(workers) as pool:
        found = list(pool.map(one, jobs))
    out.mkdir(parents=True, exist_ok=True)
    (out / f"promise-{source}.json").write_text(json.dumps([asdict(m) for m in found]), encoding="utf-8")
    return found


def read(out: Path, source: str) -> list[Measured]:
    """Read what `run` kept."""
    kept = json.loads((out / f"promise-{source}.json").read_text(encoding="utf-8"))
    by_number = [{**m, **{key: {int(p): t for p, t in m[key].items()} for key in ("counted", "law")}} for m in kept]
    return [Measured(**m) for m in by_number]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(".local/bench-alarms"))
    parser.add_argument("--source", choices=("drawn", "resampled"), default="drawn")
    parser.add_argument("--references", type=int, default=REFERENCES)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print(table(run(options.source, options.out, options.references, options.workers)))


if __name__ == "__main__":
    main()
