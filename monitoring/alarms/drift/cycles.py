"""Populations made of whole cycles: pseudo-references and pseudo-streams of rows that depend on each other.

Each population takes one random half of a reference's cycles for its pseudo-reference, and makes its pseudo-stream of
the others, each in its own order, one after the other, from a random moment on. So the rhythm, the dependence of rows
on those before them, and how cycles differ are in the thresholds: a block bootstrap (Kuensch 1989) whose blocks are the
cycles, and whose reference and stream share no rows. What the reference has never shown is added as in `bootstrap`.
"""

from collections.abc import Iterator

import numpy as np

from monitoring.alarms.drift.bootstrap import Unseen
from monitoring.alarms.drift.scores import Counts, Observations, Places
from monitoring.alarms.drift.usual import DAY, Cycle, count_cycles, local_times


def draw_cycles(
    reference: Observations, categories: int, cycle: Cycle, rows: int, rng: np.random.Generator
) -> Iterator[tuple[Observations, Observations]]:
    """Yield the pseudo-reference and the pseudo-stream, of so many rows, of population after population."""
    places = split_cycles(reference, cycle)
    while True:
        order = rng.permutation(len(places))
        half = len(places) // 2
        known = np.concatenate([places[i] for i in np.sort(order[:half])])
        stream = _endless(places, order[half:], rows, rng)
        unseen = Unseen.draw(len(known), reference.features.shape[1], categories, rng)
        yield unseen.add(reference.take(known), rng), unseen.add(reference.take(stream), rng)


def split_cycles(reference: Observations, cycle: Cycle) -> list[Places]:
    """Return the places of each cycle's rows in the order of time; what is left at the end joins the last one."""
    assert reference.times is not None
    order = np.argsort(reference.times, kind="stable")
    local = local_times(reference.times[order], cycle.zone)
    number = np.maximum(0, (local - local[0]) // cycle.length)
    whole = max(1, count_cycles(int(local[-1] - local[0]), cycle.length))
    number = np.minimum(number, whole - 1)
    return [order[number == i] for i in range(whole) if (number == i).any()]


def joints_of(stream: Observations) -> Counts:
    """Return after how many rows (joints,) of a pseudo-stream another cycle than the next one begins."""
    assert stream.times is not None
    steps = np.diff(stream.times)
    return np.flatnonzero((steps < 0) | (steps > DAY)) + 1


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
