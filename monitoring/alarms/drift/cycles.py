"""Populations made of whole cycles: pseudo-references and pseudo-streams of rows that depend on each other.

Each population knows one random half of the cycles, its pseudo-reference, and makes its pseudo-stream of the others,
each in its own order, one after the other, from a random moment on. So the rhythm, the dependence of rows on those
before them, and how cycles differ are in the thresholds: a block bootstrap (Kuensch 1989) whose blocks are the cycles,
and whose reference and stream share no rows. What the reference has never shown is added as in `bootstrap`.

Where the reference is shorter than a cycle, the cycles are those of earlier rows, and the pseudo-reference is a stretch
of the known half, as long as the reference and at the same time of the cycle: how a short one differs from all times is
in the thresholds then.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa

from monitoring.alarms.drift.bootstrap import Unseen
from monitoring.alarms.drift.scores import Observations, Places
from monitoring.alarms.drift.usual import Cycle, Times, local_times
from monitoring.contract.rhythm_rows import cycle_numbers

FEWEST_ROWS = 100  # of a stretch: where earlier rows are thinned, it is longer than the reference


@dataclass(frozen=True)
class Drawn:
    """A population's pseudo-reference and pseudo-stream, and the known rows, from which what is usual is learned."""

    reference: Observations
    stream: Observations
    known: Observations


@dataclass(frozen=True)
class Stretch:
    """A time of the cycle, and the rows to take from there on: those of a time so long, and a number at least.

    `begin` and `length` are microseconds; a cycle begins at the local time `origin`.
    """

    origin: int
    begin: int
    length: int
    rows: int

    @classmethod
    def of(cls, reference: Observations, rows: Observations, cycle: Cycle) -> Self:
        """Return the reference's stretch, in cycles that begin with the first of other rows."""
        assert reference.times is not None
        assert rows.times is not None
        local, first = local_times(reference.times, cycle.zone), int(local_times(rows.times, cycle.zone).min())
        begin, end = int(local.min()), int(local.max())
        return cls(first, (begin - first) % cycle.length, end - begin, min(FEWEST_ROWS, len(reference)))


def draw_cycles(
    rows: Observations,
    categories: int,
    cycle: Cycle,
    number: int,
    rng: np.random.Generator,
    *,
    stretch: Stretch | None = None,
) -> Iterator[Drawn]:
    """Yield population after population, with streams of so many rows; the pseudo-reference is a stretch, or all known.

    The rows are the reference's own, or with a stretch earlier ones.
    """
    places = split_cycles(rows, cycle)
    assert rows.times is not None
    local = local_times(rows.times, cycle.zone)
    while True:
        order = rng.permutation(len(places))
        half = len(places) // 2
        known = [places[i] for i in np.sort(order[:half])]
        every = np.concatenate(known)
        reference = every if stretch is None else _cut(known, local - stretch.origin, cycle.length, stretch, rng)
        stream = _endless(places, order[half:], number, rng)
        unseen = Unseen.draw(rows, len(reference), categories, rng)
        known_rows = unseen.add(rows.take(reference), rng)
        streamed = unseen.add(rows.take(stream), rng)
        yield Drawn(known_rows, streamed, known_rows if stretch is None else rows.take(every))


def split_cycles(rows: Observations, cycle: Cycle) -> list[Places]:
    """Return the places of each cycle's rows in the order of time; what is left at the end joins the last one."""
    assert rows.times is not None
    order = np.argsort(rows.times, kind="stable")
    local = local_times(rows.times[order], cycle.zone)
    number = cycle_numbers(pa.array(local), cycle.length).to_numpy()
    return [order[number == i] for i in np.unique(number)]


def _cut(known: list[Places], elapsed: Times, length: int, stretch: Stretch, rng: np.random.Generator) -> Places:
    """Return the places of a stretch that begins in a random one of the known cycles and goes on in those after it.

    `elapsed` (n,) is each row's time since the first cycle's begin; behind the last known cycle comes the first. What
    has joined the last cycle is left out: it would lie over that cycle's own rows.
    """
    known = [places[elapsed[places] // length == elapsed[places[0]] // length] for places in known]
    first = int(rng.integers(len(known)))
    known = [*known[first:], *known[:first]]
    every = np.concatenate(known)
    at = elapsed[every] % length
    turns = np.repeat(np.arange(len(known)), [len(places) for places in known])
    since = (turns * length + at - stretch.begin) % (len(known) * length)
    order = np.argsort(since, kind="stable")
    number = max(stretch.rows, int((since <= stretch.length).sum()))
    return every[order[:number]]


def _endless(places: list[Places], cycles: Places, rows: int, rng: np.random.Generator) -> Places:
    """Return places (rows,) of cycles in random order, again and again, from a random moment of the first on."""
    found: list[Places] = []
    number = 0
    while not found or number < rows:
        for i in rng.permutation(cycles):
            begin = rng.integers(len(places[i])) if not found else 0
            found.append(places[i][begin:])
            number += len(found[-1])
    return np.concatenate(found)[:rows]
