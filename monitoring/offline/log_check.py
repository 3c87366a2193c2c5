"""What `check-config` says of another system's log: whether it can be watched, and what its newest file lacks."""

from collections.abc import Iterator

from monitoring.contract.config import Model
from monitoring.contract.layout import Layout
from monitoring.contract.part_reader import schemas_of
from monitoring.contract.parts import list_parts
from monitoring.contract.times import from_microseconds

_NAMED = 5  # files


def describe_log(layout: Layout, model: Model) -> Iterator[str]:
    """Yield lines on a log of others; raise DriftloopError if it cannot be watched."""
    parts, unreadable = list_parts(layout.current)
    if not parts:
        yield f"{layout.current}: holds no rows yet"
        return
    first, last = (from_microseconds(time) for time in (min(p.first for p in parts), parts[0].last))
    rows, span = sum(part.rows for part in parts), f"from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
    yield f"{layout.current}: {rows:,} rows in {len(parts):,} files, {span}"
    (schema,) = schemas_of([parts[0].path])
    for name in (*model.features, model.prediction):
        if name not in schema.names:
            yield f"  {parts[0].path}: has no column {name}: it counts as missing values"
    if model.target not in schema.names:
        yield f"  {parts[0].path}: has no column {model.target}: labels have to come by ids"
    yield from (f"  {file.shown}: cannot be read: {file.reason}" for file in unreadable[:_NAMED])
    if len(unreadable) > _NAMED:
        yield f"  and {len(unreadable) - _NAMED} more"
