"""What benchmarks.overload found, as a table and as a picture."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.alarms.picture import BLUE, GREY

RED = "#c02f2f"
LIMIT = 0.05  # seconds within which a refusal is to be there
DUE, SENT, ANSWERED, STATUS = range(4)  # columns of a stage
ACCEPTED, REFUSED = 200, 503


@dataclass(frozen=True)
class Look:
    """A look at API and monitor: when, MB of the API's workers, seconds of the scrapes, the monitor's last cycle."""

    at: float
    memory: float
    api: float
    monitor: float
    cycle: float
    cycle_ended: float


@dataclass(frozen=True)
class Stages:
    """What the clients saw, by stage; a stage has a row for each request: due, sent, answered, status."""

    capacity: float
    calls: dict[str, np.ndarray]
    acknowledged: int
    missing: int
    double: int

    def waits(self, stage: str, status: int) -> np.ndarray:
        """Return the seconds from when a request was due to its answer, of all with that status."""
        calls = self.calls[stage]
        chosen = calls[calls[:, STATUS] == status]
        return np.asarray(chosen[:, ANSWERED] - chosen[:, DUE])


def _p(values: np.ndarray, share: float) -> float:
    return float(np.percentile(values, share)) if len(values) else float("nan")


def _seconds(calls: np.ndarray) -> list[tuple[float, float]]:
    """Return, second by second, the 99th percentile of the accepted requests' times and the share of the refused."""
    found = []
    second = (calls[:, DUE] - calls[:, DUE].min()).astype(int)
    for one in range(second.max()):
        these = calls[second == one]
        waits = (these[:, ANSWERED] - these[:, DUE])[these[:, STATUS] == ACCEPTED]
        found.append((_p(waits, 99), float((these[:, STATUS] != ACCEPTED).mean())))
    return found


def normal_again(stages: Stages) -> float:
    """Return after how many seconds one is no worse than the worst at half load was; NaN if none is."""
    half, after = _seconds(stages.calls["half"]), _seconds(stages.calls["after"])
    slowest, most = max(p99 for p99, _ in half), max(share for _, share in half)
    for second, (p99, share) in enumerate(after):
        if p99 <= slowest and share <= most:
            return float(second)
    return float("nan")


def table(stages: Stages, seen: list[Look], load: float) -> str:
    """Return the findings as Markdown."""
    about = (
        f"Measured on {os.cpu_count()} cores, which API, monitor and clients shared, with a load average of {load:.1f} "
        f"from other work at the beginning. Capacity: {stages.capacity:,.0f} requests a second of one row."
    )
    lines = [
        about,
        "",
        "![Requests, times and memory before, during and after the overload](images/overload.svg)",
        "",
        "| | half of the capacity | three times the capacity | half again |",
        "|---|---|---|---|",
    ]
    for title, cells in _rows(stages, seen).items():
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    half, over = (_p(stages.waits(name, ACCEPTED), 99) for name in ("half", "overload"))
    refused = _p(stages.waits("overload", REFUSED), 99)
    asked = (
        f"Asked for was: refused within {LIMIT * 1e3:.0f} ms ({refused * 1e3:.0f} ms for 99 of 100), accepted requests "
        f"below five times their time at half load (99 of 100: {over / half:.1f} times), normal within ten seconds "
        f"(in second {normal_again(stages) + 1:.0f} after the end). Of {stages.acknowledged:,} acknowledged rows "
        f"{stages.missing} are missing in the log, and {stages.double} are there twice."
    )
    lines += ["", asked, ""]
    return "\n".join(lines)


def _rows(stages: Stages, seen: list[Look]) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    for name, calls in stages.calls.items():
        status, length = calls[:, STATUS], np.ptp(calls[:, DUE])
        looks = [look for look in seen if calls[:, DUE].min() <= look.at <= calls[:, DUE].max()]
        accepted, refused = stages.waits(name, ACCEPTED), stages.waits(name, REFUSED)
        lag = calls[:, SENT] - calls[:, DUE]
        cycles = {look.cycle_ended: look.cycle for look in looks}
        for title, cell in {
            "requests a second": f"{len(calls) / length:,.0f}",
            "answered with 200, a second": f"{len(accepted) / length:,.0f}",
            "refused with 503": f"{(status == REFUSED).mean():.1%}",
            "without an answer, or with another one": f"{(~np.isin(status, (ACCEPTED, REFUSED))).sum():,}",
            "time to a 200, median and 99 %": _milliseconds(accepted),
            "time to a 503, median and 99 %": _milliseconds(refused),
            "the clients sent late by, 99 %": f"{_p(lag, 99) * 1e3:.0f} ms",
            "memory of the API, least to most": f"{min(x.memory for x in looks):.0f} to "
            f"{max(x.memory for x in looks):.0f} MB",
            "scrape of the API, median and longest": _scrapes([x.api for x in looks]),
            "scrape of the monitor, median and longest": _scrapes([x.monitor for x in looks]),
            "cycles of the monitor, and the longest": f"{len(cycles)}, {max(cycles.values()):.1f} s",
        }.items():
            rows.setdefault(title, []).append(cell)
    return rows


def _milliseconds(waits: np.ndarray) -> str:
    return f"{_p(waits, 50) * 1e3:.0f} ms, {_p(waits, 99) * 1e3:.0f} ms" if len(waits) else "none"


def _scrapes(values: list[float]) -> str:
    failed = sum(value == float("inf") for value in values)
    there = np.array([value for value in values if value != float("inf")])
    return f"{_p(there, 50) * 1e3:.0f} ms, {_p(there, 100) * 1e3:.0f} ms" + (f"; {failed} failed" if failed else "")


def draw(stages: Stages, seen: list[Look], path: Path) -> None:
    """Draw requests, times and memory against the time, and write the picture (SVG)."""
    figure = Figure(figsize=(9, 8), layout="constrained")
    above, middle, below = figure.subplots(3, 1, sharex=True)
    calls = np.concatenate(list(stages.calls.values()))
    begun = calls[:, DUE].min()
    _requests(above, calls, begun)
    _times(middle, calls, begun)
    there = [look for look in seen if look.at >= begun]
    below.plot([look.at - begun for look in there], [look.memory for look in there], color=BLUE)
    below.set(ylabel="MB of the API's workers", xlabel="seconds", ylim=(0, None))
    for axes in (above, middle, below):
        axes.grid(visible=True, alpha=0.25)
        over = stages.calls["overload"][:, DUE]
        axes.axvspan(over.min() - begun, over.max() - begun, color=RED, alpha=0.06)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def _requests(axes: Axes, calls: np.ndarray, begun: float) -> None:
    bins = np.arange(0, calls[:, DUE].max() - begun, 1)
    for title, chosen, color in (
        ("sent", np.full(len(calls), fill_value=True), GREY),
        ("answered with 200", calls[:, STATUS] == ACCEPTED, BLUE),
        ("refused with 503", calls[:, STATUS] == REFUSED, RED),
    ):
        number, _ = np.histogram(calls[chosen, DUE] - begun, bins)
        axes.step(bins[:-1], number, where="post", color=color, label=title)
    axes.set(ylabel="requests a second")
    axes.legend(frameon=False, fontsize=8)


def _times(axes: Axes, calls: np.ndarray, begun: float) -> None:
    for title, status, color in (("200", ACCEPTED, BLUE), ("503", REFUSED, RED)):
        chosen = calls[calls[:, STATUS] == status]
        second = (chosen[:, DUE] - begun).astype(int)
        waits = (chosen[:, ANSWERED] - chosen[:, DUE]) * 1e3
        at = np.unique(second)
        for share, style in ((50, "-"), (99, ":")):
            values = [_p(waits[second == one], share) for one in at]
            axes.plot(at, values, style, color=color, label=f"{title}, {'median' if share == 50 else '99 %'}")  # noqa: PLR2004
    axes.axhline(LIMIT * 1e3, color=GREY, linewidth=0.8)
    axes.set(ylabel="ms from due to answered", yscale="log")
    axes.legend(frameon=False, fontsize=8, ncols=2)
