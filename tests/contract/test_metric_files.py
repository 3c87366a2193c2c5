"""What `api/metric_files.py` uses of prometheus_client beside its documented parts, as the installed release has it."""

import inspect
import struct
from pathlib import Path

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from api.metric_files import _FIRST, MetricFile


def test_values_are_kept_by_what_is_replaced() -> None:
    """MmapedValue makes its files by that name, and calls of them only what ours has."""
    source = inspect.getsource(values.MultiProcessValue)
    assert "files[file_prefix] = MmapedDict(filename)" in source
    called = {name for name in ("read_value", "write_value", "close", "read_all_values") if f".{name}(" in source}
    assert called == {"read_value", "write_value", "close"}
    assert all(hasattr(MetricFile, name) for name in called)
    assert callable(MultiProcessCollector.merge)


def test_a_file_begins_with_its_used_length_and_grows_by_doubling(tmp_path: Path) -> None:
    """So ours can make the room before it is asked for."""
    path = tmp_path / "counter_1.db"
    path.write_bytes(bytes(_FIRST))
    file = MmapedDict(str(path))
    keys = 0
    while path.stat().st_size == _FIRST:
        (used,) = struct.unpack("i", path.read_bytes()[:4])
        file.write_value(f"key-{keys:0100d}", 1.0, 0.0)
        keys += 1
    assert used <= _FIRST < used + 8 + 4 + 104 + 16 + 8
    assert path.stat().st_size == 2 * _FIRST
    file.close()
