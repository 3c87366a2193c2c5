"""How soon other methods notice a shift, each tuned to the same rate of false alarms.

The streams are drawn once, then every peer watches the same ones, in an environment of its own where its versions
conflict with the project's (uv makes it). A peer that cannot be installed is named and left out.

    python -m benchmarks.alarms.peers [NAME …] [--out .local/bench-alarms] [--source drawn|resampled] [--quick]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.alarms import streams
from benchmarks.alarms.harness import SHIFTED_ROWS
from benchmarks.alarms.rows import Rows, write
from benchmarks.alarms.table import show
from benchmarks.alarms.watches import HEAD

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
REFERENCE = 800
STREAMS, STREAM, RUNS = 80, 15_000, 48  # some runs are spare, for those with an alarm before the shift
QUICK_STREAMS, QUICK_RUNS = 12, 6
WORKERS = 2
# Longest first, so that the two workers end at about the same time.
PACKAGES: dict[str, tuple[str, ...]] = {
    "driftloop": (),
    "kswin": ("river==0.26.1", "numba", "scipy"),
    "cvm_online": ("alibi-detect==0.13.0",),
    "adwin": ("river==0.26.1",),
    "nannyml": ("nannyml==0.13.1", "statsmodels", "setuptools<81"),
    "page_hinkley": ("river==0.26.1", "numba"),
    "evidently": (),
    "mission": (),
    "benjamini_hochberg": (),
    "ks_cusum_max": (),
    "ks_cusum_sum": (),
    "e_detector": (),
}


def draw(folder: Path, source: streams.Source, *, quick: bool) -> None:
    """Draw references, steady rows and rows under every shift; the same seeds give the same rows."""
    names = tuple(streams.SHIFTS)
    several, runs = (QUICK_STREAMS, QUICK_RUNS) if quick else (STREAMS, RUNS)
    write(folder / "reference", [reference_of(source, n) for n in range(several)])
    write(folder / "run", [reference_of(source, n) for n in range(runs)])
    for kind, (name, number, rows) in enumerate((("steady", several, STREAM), ("head", runs, HEAD)), 1):
        write(folder / name, [source.steady(np.random.default_rng([1, kind, n]), rows) for n in range(number)])
    for kind, name in enumerate(names):
        write(
            folder / name,
            [source.shifted(name, np.random.default_rng([2, kind, n]), SHIFTED_ROWS) for n in range(runs)],
        )
    (folder / "shifts.txt").write_text("\n".join(names), encoding="utf-8")


def reference_of(source: streams.Source, number: int) -> Rows:
    """Draw a reference; runs have those that the tuning has."""
    return source.steady(np.random.default_rng([1, 0, number]), REFERENCE)


def command(peer: str) -> list[str | Path]:
    """Return how to start a Python that has what the peer needs."""
    if not PACKAGES[peer]:
        return [sys.executable]
    wanted = [word for package in PACKAGES[peer] for word in ("--with", package)]
    return [UV, "run", "--no-project", "--isolated", "--python", sys.executable, *wanted, "python"]


def run(peer: str, folder: Path, out: Path) -> str:
    """Measure one peer; return a line on how it went."""
    begun, path = time.perf_counter(), out / f"{peer}.json"
    path.unlink(missing_ok=True)
    if PACKAGES[peer] and not UV.exists():
        return f"{peer} is left out: {UV} makes its environment, and is not there"
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    words = [*command(peer), "-m", "benchmarks.alarms.worker", peer, folder, path]
    done = subprocess.run(words, cwd=ROOT, env=os.environ | one, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"{peer} is left out: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
    return f"{peer}: {time.perf_counter() - begun:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"of {', '.join(PACKAGES)} (default: all)")
    parser.add_argument("--out", type=Path, default=ROOT / ".local/bench-alarms")
    parser.add_argument("--source", choices=("drawn", "resampled"), default="drawn")
    parser.add_argument("--quick", action="store_true", help="few rows: to see that it runs, not for figures")
    options = parser.parse_args()
    if unknown := set(options.names) - set(PACKAGES):
        parser.error(f"there is no peer {', '.join(sorted(unknown))}; there are {', '.join(PACKAGES)}")
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    names = [name for name in PACKAGES if name in options.names or not options.names]
    with tempfile.TemporaryDirectory(prefix="driftloop-") as temporary:
        begun, folder = time.perf_counter(), Path(temporary)
        draw(folder, getattr(streams, options.source)(), quick=options.quick)
        print(f"rows drawn: {time.perf_counter() - begun:.0f} s", flush=True)
        with ThreadPoolExecutor(WORKERS) as pool:
            for line in pool.map(lambda name: run(name, folder, out), names):
                print(line, flush=True)
    print()
    show([out / f"{name}.json" for name in names])


if __name__ == "__main__":
    main()
