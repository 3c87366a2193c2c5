"""Reading a folder that changes meanwhile."""

import pytest

from monitoring.contract.errors import DriftloopError
from monitoring.contract.rereading import attempts


def _read(*results: Exception | str) -> tuple[str, int]:
    """Read a source that gives these results in turn, the last for ever; return what was read, and how often it was."""
    reads = 0
    found = ""
    for attempt in attempts("the log"):
        with attempt:
            result = results[min(reads, len(results) - 1)]
            reads += 1
            if isinstance(result, Exception):
                raise result
            found = result
            break
    return found, reads


def test_what_can_be_read_is_read_once() -> None:
    """Nothing begins again without a reason."""
    assert _read("rows") == ("rows", 1)


def test_a_file_that_has_gone_begins_the_reading_again() -> None:
    """It was merged or archived since it was listed."""
    assert _read(FileNotFoundError(), FileNotFoundError(), "rows") == ("rows", 3)


def test_a_folder_that_never_holds_still_is_given_up_with_its_name() -> None:
    """A reader does not turn for ever."""
    with pytest.raises(DriftloopError, match="the log changes faster than it can be read"):
        _read(FileNotFoundError())


@pytest.mark.parametrize("error", [PermissionError("denied"), ValueError("bad"), DriftloopError("ours")])
def test_any_other_error_passes(error: Exception) -> None:
    """Only a file that has gone is a reason to begin again."""
    with pytest.raises(type(error), match=str(error)):
        _read(error, "rows")
