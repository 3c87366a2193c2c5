"""Which label counts: the newest for windows and training, the first for the sequential test."""

from collections.abc import Iterable

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.contract.labels import first_targets, newest_labels, newest_places, newest_targets
from monitoring.contract.schemas import TIMESTAMP
from monitoring.contract.times import NEVER

OWN = pa.chunked_array([["a", None], ["a", None]])
LATE = pa.array(["b", "b", None, None])


def _labels(*rows: tuple[str, str, int | None]) -> pa.Table:
    ids, labels, times = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "prediction_id": pa.array(ids, pa.string()),
            "actual": pa.array(labels, pa.string()),
            "timestamp": pa.array(times, TIMESTAMP),
        }
    )


def test_a_later_label_corrects_the_rows_own() -> None:
    """Windows and training count the late label where there is one."""
    assert newest_targets(OWN, LATE).to_pylist() == ["b", "b", "a", None]


def test_the_first_label_stands_for_the_sequential_test() -> None:
    """A row that came with its label is evidence once: a correction changes nothing."""
    assert first_targets(OWN, LATE).to_pylist() == ["a", "b", "a", None]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param(_labels(("1", "a", 5), ("1", "b", 9), ("1", "c", 7)), ["b", None], id="newest"),
        pytest.param(_labels(("1", "a", 5), ("1", "b", 5)), ["b", None], id="tie: the last"),
        pytest.param(_labels(("1", "a", -3), ("1", "b", None)), ["a", None], id="null: the oldest"),
        pytest.param(_labels(("1", "a", None), ("1", "b", None)), ["b", None], id="nulls alone: the last"),
        pytest.param(_labels(("1", "a", 5), ("1", "b", NEVER + 999_999)), ["a", None], id="never: as null"),
        pytest.param(_labels(("2", "b", 1), ("3", "a", 2)), [None, "b"], id="another row's"),
        pytest.param(_labels(), [None, None], id="none"),
    ],
)
def test_of_late_labels_the_newest_is_joined(labels: pa.Table, expected: list[str | None]) -> None:
    """By their time; of equal ones the last in the table, and one without a time is older than any with one."""
    assert newest_labels(pa.chunked_array([["1"], ["2"]]), labels, "actual").to_pylist() == expected
    chunks = pa.concat_tables([labels.slice(0, 1), labels.slice(1)])
    assert newest_labels(pa.chunked_array([["1", "2"]]), chunks, "actual").to_pylist() == expected


@given(st.lists(st.tuples(st.integers(0, 4), st.none() | st.integers(-3, 3)), max_size=30))
def test_the_newest_places_are_pandas_last_after_a_stable_sort(rows: Iterable[tuple[int, int | None]]) -> None:
    """One place per key, whatever the order and the ties."""
    keys, times = [key for key, _ in rows], [time for _, time in rows]
    places = newest_places(pa.array(keys, pa.int64()), pa.array(times, TIMESTAMP)).to_pylist()
    frame = pd.DataFrame({"key": keys, "time": [-9 if time is None else time for time in times]})
    assert sorted(places) == sorted(frame.sort_values("time", kind="stable").groupby("key").tail(1).index)
