"""The alarms' figures as one picture: what is promised and kept, and how soon each method notices each shift."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.alarms.harness import SHIFTED_ROWS
from benchmarks.alarms.promise import PROMISES, Measured

OURS = "driftloop"
NAMES = {
    "gain_1db": "gain -1 dB",
    "gain_3db": "gain -3 dB",
    "gain_6db": "gain -6 dB",
    "low_pass": "low-pass",
    "noise": "noise",
    "mix_10": "genre mix 10 %",
    "mix_20": "genre mix 20 %",
    "mix_40": "genre mix 40 %",
    "missing_5": "5 % missing",
    "variance": "variance x 1.5",
    "correlation": "correlation only",
}
MARKS = "sv^<>DPX*phd8"
BLUE, GREY = "#2560c8", "#8a93a3"


def draw(results: list[dict[str, Any]], promise: list[Measured], path: Path) -> None:
    """Draw both, and write the picture (SVG)."""
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 2))
    _kept(left, promise)
    _delays(right, results)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def _kept(axes: Axes, promise: list[Measured]) -> None:
    sizes, rng = sorted({m.size for m in promise}), np.random.default_rng(0)
    for place, size in enumerate(sizes):
        for promised in PROMISES:
            times = [m.law[promised] for m in promise if m.size == size]
            x = promised * 10 ** ((place - 1) * 0.22 + rng.uniform(-0.06, 0.06, len(times)))
            shade = ("#9ec1ff", "#5b8fe8", BLUE)[place]
            label = f"reference of {size:,} rows" if promised == PROMISES[0] else None
            axes.scatter(x, times, s=7, color=shade, label=label)
    for promised in PROMISES:
        axes.plot([promised / 2.2, promised * 2.2], [promised, promised], color="#c02f2f", linewidth=1.5)
    axes.text(PROMISES[-1], PROMISES[-1] * 0.6, "the promise", color="#c02f2f", ha="center", va="top", fontsize=9)
    axes.set(xscale="log", yscale="log", xlabel="rows between false alarms: promised", ylabel="measured")
    axes.set_title("Each dot is a reference", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    axes.grid(visible=True, alpha=0.25)


def _delays(axes: Axes, results: list[dict[str, Any]]) -> None:
    shifts = list(NAMES)
    others = [result for result in results if result["peer"] != OURS]
    for mark, result in zip(MARKS, others, strict=False):
        x = [np.median(result["delays"][shift]) for shift in shifts]
        axes.scatter(x, range(len(shifts)), marker=mark, s=30, color=GREY, alpha=0.8, label=result["label"])
    ours = next(result for result in results if result["peer"] == OURS)
    x = [np.median(ours["delays"][shift]) for shift in shifts]
    axes.scatter(x, range(len(shifts)), s=60, color=BLUE, label=ours["label"], zorder=3)
    axes.set_xlabel("rows from the shift to the alarm (median; at 20,000: mostly silent)")
    axes.set_title("All with one false alarm in 10,000 rows, measured; reference of 800 rows", fontsize=10)
    lay_out_delays(axes, list(NAMES.values()), SHIFTED_ROWS)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))


def lay_out_delays(axes: Axes, names: list[str], silent: float) -> None:
    """Give each name a line from the top down, and mark where those are drawn that stay silent."""
    axes.axvline(silent, color=GREY, linewidth=1, linestyle=":")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.grid(visible=True, alpha=0.25)
