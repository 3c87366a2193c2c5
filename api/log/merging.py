"""Small parts become larger ones, so that a log is a few hundred files whatever its age.

Parts are merged with their like: those of fewer than 16 rows, of fewer than 256, and so on, 16 at a time. So a row is
rewritten once per size, at most five times in its life, and each size leaves 15 parts at most that wait for others.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import pyarrow as pa

from api.log.journal_lines import LogFormat
from monitoring.contract.names import LARGEST_PART
from monitoring.contract.parts import Part, covering, merged_name
from monitoring.contract.storage import Place, open_parquet, remove, step, write_parquet

GROUP_ROWS = 16_384  # of a row group: what the edge of a window reads
FAN = 16


def plan(parts: Sequence[Part]) -> list[list[Part]]:
    """Choose the parts to be merged: neighbours in time, of one size."""
    sizes = defaultdict(list)
    for part in sorted(parts, key=lambda p: (p.first, p.last, p.name)):
        sizes[_size(part)].append(part)
    return [
        group for size, alike in sorted(sizes.items()) if size < _size_of(LARGEST_PART // 2) for group in _full(alike)
    ]


def _size(part: Part) -> int:
    return _size_of(part.rows)


def _size_of(rows: int) -> int:
    return (rows.bit_length() - 1) // (FAN.bit_length() - 1)


def _full(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Cut parts into groups that are full, in number or in rows; what is left waits for others."""
    group: list[Part] = []
    rows = 0
    for part in parts:
        if rows + part.rows > LARGEST_PART:
            yield group
            group, rows = [], 0
        group.append(part)
        rows += part.rows
        if len(group) == FAN:
            yield group
            group, rows = [], 0


def merge(folder: Place, parts: Sequence[Part], form: LogFormat) -> list[Place]:
    """Merge parts, those of a schema with each other, and remove them; return the merged ones.

    The merged part is there before the first of those that it covers goes. A part that is alone in its schema stays.
    """
    alike: dict[pa.Schema, list[tuple[Part, pa.Table]]] = defaultdict(list)
    for part in parts:
        with open_parquet(part.path) as file:
            table = file.read(use_threads=False).replace_schema_metadata(None)
        alike[table.schema].append((part, table))
    return [_merge(folder, group, form) for group in alike.values() if len(group) > 1]


def _merge(folder: Place, group: list[tuple[Part, pa.Table]], form: LogFormat) -> Place:
    parts, tables = zip(*group, strict=True)
    table = pa.concat_tables(tables).sort_by([(name, "ascending") for name in form.order])
    path = folder / merged_name(parts)
    write_parquet(path, table.replace_schema_metadata(covering(parts)), row_group_size=GROUP_ROWS)
    step("parts merged")
    for part in parts:
        remove(part.path)
        step("merged part's source removed")
    return path
