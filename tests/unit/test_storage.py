"""Files are replaced whole or not at all."""

from pathlib import Path

import pytest

from monitoring.contract.storage import replaced


def test_replaced_swaps_the_file_whole(tmp_path: Path) -> None:
    """The new content is there after the block, nothing else is."""
    path = tmp_path / "deep" / "file"
    for content in ("one", "two"):
        with replaced(path) as temporary:
            temporary.write_text(content)
        assert path.read_text() == content
    assert list(path.parent.iterdir()) == [path]


def test_replaced_leaves_nothing_half_written(tmp_path: Path) -> None:
    """After an error the former file is as it was and no temporary file is left."""
    path = tmp_path / "file"
    path.write_text("old")

    def fail_half_way() -> None:
        with replaced(path) as temporary:
            temporary.write_text("ha")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_meet_in_one_temporary_file(tmp_path: Path) -> None:
    """Writers of the same file, even under the same process id in two containers, have a temporary file each."""
    path = tmp_path / "file"
    with replaced(path) as first:
        first.write_text("first")
        with replaced(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
