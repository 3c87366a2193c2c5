"""The index of ids: each id that was entered is found, by every process, whatever was merged or killed meanwhile."""

import os
import random
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.log import id_index
from api.log.id_index import IdIndex
from monitoring.contract.times import Micros


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs be made and merged all the time."""
    monkeypatch.setattr(id_index, "TAIL", 20)
    monkeypatch.setattr(id_index, "FAN", 4)
    monkeypatch.setattr(id_index, "LARGEST", 400)


def index_of(folder: Path, known: dict[str, Micros] | None = None) -> IdIndex:
    return IdIndex(folder / "_ids", lambda: [known or {}], durable=False)


def batch(number: int, size: int) -> dict[str, Micros]:
    return {f"{number}/{n}": Micros(1000 * number + n) for n in range(size)}


def test_what_was_entered_is_found_by_every_process(tmp_path: Path) -> None:
    """Several indexes of one folder take turns; each knows what the others have entered, and one that starts anew."""
    known = batch(0, 30)
    writers = [index_of(tmp_path, known) for _ in range(3)]
    rng = random.Random(7)
    for number in range(1, 120):
        new = batch(number, rng.randrange(1, 15))
        assert rng.choice(writers).add(new)
        assert not rng.choice(writers).add(
            rng.choice([{key: Micros(5)} for key in known] + [{"0/0": Micros(9), "x": Micros(9)}])
        )
        known |= new
    for one in (*writers, index_of(tmp_path)):
        assert one.times([*known, "x", "y"]) == known
    assert len(list((tmp_path / "_ids").iterdir())) < 30
    writers[0].put({"1/0": Micros(77)})
    assert writers[1].times(["1/0"]) == {"1/0": 77}


def test_a_folder_without_files_is_asked_nothing(tmp_path: Path) -> None:
    """A service that never had another's ids has no index."""
    assert index_of(tmp_path, batch(0, 3)).times(["0/0"]) == {}
    assert not list(tmp_path.iterdir())


def clear(index_folder: Path) -> None:
    for file in index_folder.iterdir():
        file.unlink()


@pytest.mark.parametrize("requests", [1, 2, 30])
def test_the_index_may_be_removed_at_any_time(tmp_path: Path, requests: int) -> None:
    """As a batch does that is ingested: the log is read again, whatever this process had read of the files."""
    known: dict[str, Micros] = {}
    index, other = (IdIndex(tmp_path / "_ids", lambda: [known], durable=True) for _ in range(2))
    for number in range(requests):
        assert index.add(batch(number, 1))
        assert other.times(batch(number, 1)) == batch(number, 1)
    known |= batch(99, 3)
    clear(tmp_path / "_ids")
    assert other.times(known) == {}
    assert not other.complete
    assert index.add({"new": Micros(7)})
    assert index.complete
    assert other.times([*known, "0/0", "new"]) == {**known, "new": 7}


def test_the_name_of_a_tail_survives_a_power_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is synced when each is there, before an id is written to it."""
    real, synced = os.fsync, set()

    def recorded(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            synced.update(file.name for file in (tmp_path / "_ids").glob("*.tail") if not file.stat().st_size)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    index = IdIndex(tmp_path / "_ids", list, durable=True)
    for number in range(10):
        index.add(batch(number, 10))
        assert {file.name for file in (tmp_path / "_ids").glob("*.tail")} <= synced


def test_a_large_log_is_read_in_pieces(tmp_path: Path) -> None:
    """No run is far above its bound, the newest time of an id counts, and who dies meanwhile begins anew."""
    parts = [batch(number, 90) for number in range(30)] + [{"0/0": Micros(5)}]

    def dies() -> Iterator[dict[str, Micros]]:
        yield from parts[:9]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        IdIndex(tmp_path / "_ids", dies, durable=False).add({"new": Micros(7)})
    index = IdIndex(tmp_path / "_ids", lambda: parts, durable=False)
    assert index.add({"new": Micros(7)})
    assert index_of(tmp_path).times([*parts[0], *parts[29], "new"]) == {
        **parts[0], **parts[29], "0/0": 5, "new": 7,
    }  # fmt: skip
    assert max(file.stat().st_size for file in (tmp_path / "_ids").iterdir()) < (400 + 90) * 16
    assert len(list((tmp_path / "_ids").glob("*.run"))) == 1 + 7


@pytest.mark.parametrize("killed", range(1, 12))
def test_a_killed_process_loses_nothing(tmp_path: Path, killed: int) -> None:
    """Killed at any step of making and merging runs: what was entered before is found, and entering goes on."""
    index = index_of(tmp_path)
    for number in range(7):
        index.add(batch(number, 10))
    known = {key: time for number in range(7) for key, time in batch(number, 10).items()}
    pid = os.fork()
    if not pid:
        calls = 0
        for name in ("replace", "rename", "unlink", "write", "fsync", "open"):
            real = getattr(os, name)

            def counted(*args: object, real: object = real, **more: object) -> object:
                nonlocal calls
                calls += 1
                if calls == killed * 3:
                    os._exit(9)
                return real(*args, **more)  # type: ignore[operator]

            setattr(os, name, counted)
        index.add(batch(7, 10))
        index.add(batch(8, 10))
        os._exit(0)
    os.waitpid(pid, 0)
    again = index_of(tmp_path)
    assert again.times(known) == known
    assert again.add(batch(9, 25))
    assert index_of(tmp_path).times([*known, *batch(9, 25)]) == known | batch(9, 25)


def test_a_torn_pair_is_cut_off(tmp_path: Path) -> None:
    """What a process has left of a pair does not put those behind it out of place."""
    index = index_of(tmp_path)
    index.add(batch(1, 5))
    (tail,) = (tmp_path / "_ids").glob("*.tail")
    with tail.open("ab") as file:
        file.write(b"torn")
    other = index_of(tmp_path)
    other.add(batch(2, 5))
    assert index.times([*batch(1, 5), *batch(2, 5)]) == batch(1, 5) | batch(2, 5)


def test_old_runs_are_forgotten(tmp_path: Path) -> None:
    """Those of which every row is older; the others stay."""
    index = index_of(tmp_path)
    for number in range(1, 100):
        index.add(batch(number, 10))
    index.forget(Micros(50_000))
    other = index_of(tmp_path)
    assert not other.times(batch(1, 10))
    assert all(other.times(batch(number, 10)) for number in range(50, 100))
    assert other.add(batch(1, 10))
