"""Print what `peers.py` measured as a table: median rows to detection by shift."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np


def show(paths: Iterable[Path]) -> None:
    """Print one row per peer; a + marks shifts for which at least one run stayed silent to the end."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]
    if not results:
        return
    names = list(results[0]["delays"])
    print("| peer | rows between false alarms | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 2))
    for result in results:
        cells = [
            f"{np.median(result['delays'][name]):,.0f}{'+' if result['silent'].get(name) else ''}" for name in names
        ]
        print(f"| {result['label']} | {result['false_alarm_rows']:,} | " + " | ".join(cells) + " |")
    print()
    for result in results:
        print(f"{result['label']}: {result['setting']} ({result['runs']} runs, {result['seconds']:.0f} s)")
