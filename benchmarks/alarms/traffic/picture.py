"""Real traffic as one picture: the alarms of halves in which nothing has changed, and how soon faults are found."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.alarms.picture import BLUE, GREY, MARKS, lay_out_delays
from benchmarks.alarms.traffic.faults import middle
from benchmarks.alarms.traffic.halves import Half
from benchmarks.alarms.traffic.streams import FAULTS

SILENT = 2_400  # hours: where those are drawn that stay silent
LEAST = 0.02  # hours
TICKS = (0, 1, 2, 3, 10, 100, 1_000)  # alarms


def draw(halves: list[dict[str, Any]], results: list[dict[str, Any]], path: Path) -> None:
    """Draw both, and write the picture (SVG)."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.7))
    _halves(left, [Half(**one) for one in halves])
    _faults(right, results)
    figure.legend(*right.get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside lower center", ncols=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def _halves(axes: Axes, found: list[Half]) -> None:
    kinds, rng = list(dict.fromkeys((h.features, h.unit) for h in found)), np.random.default_rng(0)
    for place, kind in enumerate(kinds):
        several = [h for h in found if (h.features, h.unit) == kind]
        most = [max(len(h.alarms), h.anew) for h in several]
        axes.scatter(most, place + rng.uniform(-0.25, 0.25, len(several)), s=10, color=BLUE)
    axes.axvline(3.5, color="#c02f2f", linewidth=1.5)
    axes.text(3.7, -0.75, "promised: 3", color="#c02f2f", va="center", fontsize=9)
    axes.set_yticks(range(len(kinds)), [f"{features}, halves of {unit}" for features, unit in kinds])
    axes.set(xlabel="alarms in 91 days, with a new start after each", ylim=(len(kinds) - 0.5, -1))
    axes.set_xscale("symlog", linthresh=4)
    axes.set(xlim=(-0.3, 3_000), xticks=TICKS, xticklabels=[f"{tick:,}" for tick in TICKS])
    axes.set_title("Nothing has changed: each dot is a half", fontsize=10)
    axes.grid(visible=True, alpha=0.25)


def _faults(axes: Axes, results: list[dict[str, Any]]) -> None:
    for mark, result in zip("o" + MARKS, results, strict=False):
        hours = [middle(result["delays"][fault], "hours") for fault in FAULTS]
        ours = result["peer"] == "driftloop"
        axes.scatter(
            np.clip(hours, LEAST, SILENT),
            range(len(FAULTS)),
            marker=mark,
            s=60 if ours else 30,
            color=BLUE if ours else GREY,
            zorder=3 if ours else 2,
            label=f"{result['label']} ({result['share']:.1%})",
        )
    axes.set_xlabel("median hours to the alarm; at the right: silent. (%): time in alarm")
    axes.set_title("Faults put into a log in which nothing else has changed", fontsize=10)
    lay_out_delays(axes, list(FAULTS.values()), SILENT)
