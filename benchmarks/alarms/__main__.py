"""All figures of docs/alarms.md: `make bench-alarms`, or `python -m benchmarks.alarms [--source resampled]`.

The figures go into docs/alarms.md, each source's into its own place; those of the drawn one into
docs/images/alarms.svg too.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.alarms import promise
from benchmarks.alarms.peers import PACKAGES, ROOT
from benchmarks.alarms.picture import NAMES, OURS, draw

PAGE, PICTURE = ROOT / "docs/alarms.md", ROOT / "docs/images/alarms.svg"
CANDIDATES = ("ks_cusum_max", "ks_cusum_sum", "e_detector")
REFERENCES = {"drawn": promise.REFERENCES, "resampled": 10}
NEAR = 1.1
EXPLAINED = (
    f'"Measured" follows from the law of the largest evidence in each 1,000 of {promise.STRETCHES} times '
    f'{promise.STRETCH_ROWS:,} steady rows per reference, so that it is extrapolated at 1,000,000. "Counted" is the '
    'share of references in which no more alarms were counted than were promised. "Least of 20" is the 5 % quantile '
    "over references."
)


def delays_table(results: list[dict[str, Any]]) -> str:
    """Return the median rows to detection, a line per method; the fastest in bold, and who is near it."""
    fastest = {name: min(np.median(r["delays"][name]) for r in results) for name in NAMES}
    lines = [
        "| method | rows between false alarms | " + " | ".join(NAMES.values()) + " |",
        "|---|---|" + "---|" * len(NAMES),
    ]
    for result in sorted(results, key=lambda r: r["peer"] != OURS):
        cells = []
        for name in NAMES:
            median = float(np.median(result["delays"][name]))
            silent = result["silent"].get(name)
            text = f"{median:,.0f}" if median < 20_000 else "silent"  # noqa: PLR2004 - the rows of a run
            text += f" ({silent} of {result['runs']} silent)" if silent else ""
            cells.append(f"**{text}**" if median <= NEAR * fastest[name] else text)
        lines.append(f"| {result['label']} | {result['false_alarm_rows']:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def settings_list(results: list[dict[str, Any]]) -> str:
    """Return how each method was set."""
    return "\n".join(f"- {r['label']}: {r['setting']} ({r['runs']} runs per shift)." for r in results)


def measured(results: list[dict[str, Any]], found: list[promise.Measured], seconds: float) -> str:
    """Return all tables as Markdown."""
    peers = [r for r in results if r["peer"] not in CANDIDATES]
    ours = [r for r in results if r["peer"] in (OURS, *CANDIDATES)]
    return f"""
### The promise

{promise.table(found)}

{EXPLAINED}

### Rows to detection

Median rows from a shift to the alarm; bold is the fastest and whatever is within 10 % of it.

{delays_table(peers)}

{settings_list(peers)}

### The statistic

{delays_table(ours)}

{settings_list(ours)}

One run on {os.cpu_count()} cores, {seconds / 60:.0f} minutes.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("shifts", "traffic"), default="shifts", help="traffic: its own options too")
    parser.add_argument("--source", choices=tuple(REFERENCES), default="drawn")
    parser.add_argument("--out", type=Path, default=ROOT / ".local/bench-alarms")
    parser.add_argument("--kept", action="store_true", help="measure nothing: write what the last run found")
    options, others = parser.parse_known_args()
    if options.part == "traffic":
        others += ["--out", str(options.out / "traffic"), *(["--kept"] if options.kept else [])]
        subprocess.run([sys.executable, "-m", "benchmarks.alarms.traffic", *others], cwd=ROOT, check=True)
        return
    if others:
        parser.error(f"unknown: {' '.join(others)}")
    out = options.out / options.source
    begun = time.perf_counter()
    if not options.kept:
        command = [sys.executable, "-m", "benchmarks.alarms.peers", "--out", out, "--source", options.source]
        subprocess.run(command, cwd=ROOT, check=True)
        promise.run(options.source, out, REFERENCES[options.source], 2)
        (out / "seconds.txt").write_text(f"{time.perf_counter() - begun:.0f}", encoding="utf-8")
    results = [json.loads(p.read_text("utf-8")) for name in PACKAGES if (p := out / f"{name}.json").exists()]
    text = measured(results, promise.read(out, options.source), float((out / "seconds.txt").read_text("utf-8")))
    print(text)
    if options.source == "drawn":
        draw(results, promise.read(out, options.source), PICTURE)
    page = PAGE.read_text(encoding="utf-8")
    marks = rf"(<!-- {options.source} -->\n).*(<!-- end of {options.source} -->)"
    PAGE.write_text(re.sub(marks, lambda m: m[1] + text + "\n" + m[2], page, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
