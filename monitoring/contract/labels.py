"""Which label counts where a row has several: one that came with it, and those that came later.

- Windows, training and the backtest go by the newest: a later label corrects what came before it. So does the API,
  which takes a label as known, or as a correction, by the newest that it finds.
- The sequential test of accuracy goes by the first: a test that looks after every row must not be given the same
  evidence twice, so a correction is not for it.
"""

import pyarrow as pa
import pyarrow.compute as pc

from monitoring.contract.times import NEVER

_NO_TIME = -(2**63)  # earlier than all


def are_given(targets: pa.ChunkedArray) -> pa.ChunkedArray:
    """Say which labels (n,) there are: null is none, and neither is a number that is none (NaN)."""
    return pc.invert(pc.is_null(targets, nan_is_null=True))


def newest_targets(own: pa.ChunkedArray, late: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """Return each row's label as windows count it; null where a row has none. Both have one value per row."""
    return pc.coalesce(late, own)


def first_targets(own: pa.ChunkedArray, late: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """Return each row's label as the sequential test counts it; null where a row has none."""
    return pc.coalesce(own, late)


def newest_labels(ids: pa.ChunkedArray, labels: pa.Table, target: str) -> pa.ChunkedArray:
    """Return for each id the newest of the labels that came later, by their `timestamp`; null for one without."""
    codes = labels["prediction_id"].combine_chunks().dictionary_encode().indices  # numbers sort faster than text
    newest = labels.take(newest_places(codes, labels["timestamp"]))
    place = pc.index_in(ids, value_set=newest["prediction_id"].combine_chunks())
    return pc.take(newest[target], place)


def newest_places(keys: pa.Array | pa.ChunkedArray, times: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return the place of each key's newest time (k); of equal times the last counts, none is the oldest."""
    ages = pc.fill_null(times.cast(pa.int64()), _NO_TIME)
    ages = pc.if_else(pc.less(ages, NEVER), ages, _NO_TIME)
    table = pa.table({"key": keys, "time": ages, "place": pa.array(range(len(keys)), pa.int64())})
    table = table.sort_by([(name, "ascending") for name in table.column_names])
    newest = table.group_by("key", use_threads=False).aggregate([("place", "last")])
    return newest["place_last"].combine_chunks()
