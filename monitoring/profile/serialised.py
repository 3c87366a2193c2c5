"""Profiles as bytes: what a cache keeps, a command writes and a cluster's tasks send."""

import hashlib
import json
from collections import Counter
from dataclasses import asdict, astuple
from typing import Any

import numpy as np
import pyarrow as pa

from monitoring.profile.categorical import Unseen
from monitoring.profile.distinct_rows import DistinctRows
from monitoring.profile.error_bins import ErrorBins
from monitoring.profile.grid import FORMAT, Grid
from monitoring.profile.label_errors import ErrorSums
from monitoring.profile.label_scores import ScoreCounts
from monitoring.profile.profile import MERGED, Profile, ProfileMismatchError, narrow, other_reference
from monitoring.profile.segments import GroupOutcomes

_HEADER = b"driftloop.profile"
_DIGEST = hashlib.sha256().digest_size


def to_bytes(profile: Profile) -> bytes:
    """Return a profile as a SHA-256 and a compressed Arrow IPC file, whose columns are the arrays, with one row."""
    values = {f.name: getattr(profile, f.name) for f in MERGED}
    arrays = {name: narrow(value).ravel() for name, value in values.items() if isinstance(value, np.ndarray)}
    if profile.distinct is not None:
        arrays["distinct"] = profile.distinct.joined()
    header: dict[str, Any] = {name: value for name, value in values.items() if isinstance(value, int)}
    header |= {name: list(value.items()) for name, value in values.items() if isinstance(value, Counter)}
    header |= {"unseen": [astuple(one) for one in profile.unseen], "errors": asdict(profile.errors)}
    arrays |= {"score_keys": profile.scores.keys, "score_counts": narrow(profile.scores.counts)}
    header |= {"error_bins": astuple(profile.error_bins), "outcomes": astuple(profile.outcomes)}
    numeric = profile.grid.numeric
    types = dict(zip(numeric.names, map(str, numeric.types), strict=True))
    header |= {"format": FORMAT, "grid": profile.grid.digest, "types": types}
    columns = [pa.ListArray.from_arrays([0, len(a)], pa.array(a)) for a in arrays.values()]
    batch = pa.record_batch(columns, names=list(arrays)).replace_schema_metadata({_HEADER: json.dumps(header)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(batch)
    content = bytes(sink.getvalue())
    return hashlib.sha256(content).digest() + content


def types_in(content: bytes) -> dict[str, pa.DataType]:
    """Return the types that a profile's features were rounded to; raise ProfileMismatchError if it is none."""
    header, _ = _open(content)
    return {name: pa.type_for_alias(text) for name, text in header["types"].items()}


def _open(content: bytes) -> tuple[dict[str, Any], pa.RecordBatch]:
    digest, content = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        raise ProfileMismatchError(f"not a profile of format {FORMAT}, or a damaged one; make it again")
    try:
        with pa.ipc.open_file(content) as reader:
            header = json.loads(reader.schema.metadata[_HEADER])
            batch = reader.get_batch(0)
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise ProfileMismatchError(f"not a profile: {error}") from error
    if header["format"] != FORMAT:
        raise ProfileMismatchError(f"a profile of format {header['format']}; this version reads {FORMAT}")
    return header, batch


def from_bytes(grid: Grid, content: bytes) -> Profile:
    """Read a profile; raise ProfileMismatchError if it is none, damaged, of another format, or of another reference."""
    header, batch = _open(content)
    if header["grid"] != grid.digest:
        raise ProfileMismatchError(other_reference(header["grid"], grid.digest))
    arrays = {name: batch.column(name).flatten().to_numpy(zero_copy_only=False) for name in batch.schema.names}
    hashes = arrays.pop("distinct", None)
    keys, counts = (arrays.pop(name).astype(np.int64) for name in ("score_keys", "score_counts"))
    values: dict[str, Any] = {"distinct": None if hashes is None else DistinctRows((hashes,) if len(hashes) else ())}
    for name, none in ((f.name, getattr(Profile.empty(grid), f.name)) for f in MERGED):
        if isinstance(none, np.ndarray):
            values[name] = arrays[name].astype(none.dtype).reshape(none.shape)
        elif isinstance(none, Counter):
            values[name] = Counter({tuple(k) if isinstance(k, list) else k: n for k, n in header[name]})
        elif isinstance(none, int):
            values[name] = header[name]
    values["errors"] = ErrorSums(**header["errors"] | {"largest": tuple(header["errors"]["largest"])})
    values["scores"] = ScoreCounts(keys, counts)
    values["error_bins"] = ErrorBins(*map(tuple, header["error_bins"]))
    values["outcomes"] = GroupOutcomes(*map(tuple, header["outcomes"]))
    values["unseen"] = tuple(Unseen(total, named) for total, named in header["unseen"])
    return Profile(grid, **values)
