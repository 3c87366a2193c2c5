"""How the workers of an API change over to another model together, each worker an object with a folder in common."""

import errno
import fcntl
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api.handover import Handover
from api.metrics import APIMetrics
from api.model import Release, copy_path, save_copy
from api.registry import Follower
from api.serving import Serving
from monitoring.contract.names import LEAD_SECONDS
from tests.processes import eventually
from tests.unit.api_fixtures import onnx_model
from tests.unit.bad_files import ODD
from tests.unit.kills import forked
from tests.unit.models import wine
from tests.unit.registry_fixtures import Registry, running_registry

FOREVER = 1e9
CONTENT = onnx_model(("acidity", "sugar", "alcohol", "density"), ("red", "white"))

Start = Callable[..., Follower]


@pytest.fixture
def registry() -> Iterator[Registry]:
    with running_registry() as registry:
        yield registry


@pytest.fixture
def start(tmp_path: Path, registry: Registry) -> Iterator[Start]:
    """Give what starts a worker of the API whose container keeps the copy in a folder of that name."""
    model = wine(tmp_path).model
    with ExitStack() as stack:

        def begin(folder: str = "shared", patience: float = FOREVER) -> Follower:
            metrics = APIMetrics(model)
            follower = Follower(registry.url, model, tmp_path / folder, metrics, poll_seconds=0.02, patience=patience)
            stack.callback(follower.close)
            follower.start()
            return follower

        yield begin


class Hanging:
    """A worker that lives, and does nothing unless it is asked: a request comes, or it goes on at last."""

    def __init__(self, folder: Path) -> None:
        self.metrics = APIMetrics(model := wine(folder.parent).model)
        self.handover = Handover(folder, model.name)
        self.handover.join()
        self.serving = Serving(self.handover, model, self.metrics)
        self.serving.current()

    def version(self) -> str | None:
        served = self.serving.current()
        return served.release.version if served else None

    def loads(self, outcome: str) -> float | None:
        return self.metrics.registry.get_sample_value("api_model_loads_total", {"outcome": outcome})


def test_without_a_champion_it_is_said_how_one_comes_to_be(tmp_path: Path, registry: Registry) -> None:
    """`/ready`, `/model` and `/predict` say this sentence: a start may wait for a model of the user's."""
    model = wine(tmp_path).model
    asked = {"poll_seconds": FOREVER, "awaited": "`python -m flows register --model …` registers one"}
    follower = Follower(registry.url, model, tmp_path / "shared", APIMetrics(model), **asked)
    follower.look()
    assert follower.serving() is None
    assert follower.error is not None
    assert follower.error.endswith("alias champion yet; `python -m flows register --model …` registers one")


def version(follower: Follower) -> str | None:
    served = follower.serving()
    return served.release.version if served else None


def test_nobody_changes_over_before_everybody_can(tmp_path: Path, registry: Registry, start: Start) -> None:
    """The new model is loaded by all before it answers anywhere; then all have it with their next request."""
    registry.promote("1", CONTENT)
    workers = [start() for _ in range(3)]
    eventually("the first champion", lambda: {version(worker) for worker in workers} == {"1"})
    slow = Hanging(tmp_path / "shared")
    registry.promote("2", CONTENT)
    eventually("the next model", slow.handover.staged)
    assert {version(worker) for worker in workers} == {slow.version()} == {"1"}
    slow.serving.prepare()
    eventually("the change", lambda: version(workers[0]) == "2")
    assert {version(worker) for worker in workers} == {slow.version()} == {"2"}
    assert slow.loads("late") == 0


def test_a_rollback_goes_the_same_way(registry: Registry, start: Start) -> None:
    """The alias moves back: all serve the former version, and those who start then, too."""
    registry.promote("1", CONTENT)
    workers = [start(), start()]
    for champion in ("2", "1", "2"):
        registry.promote(champion, CONTENT)
        eventually("the change", lambda champion=champion: version(workers[0]) == champion)
        assert version(workers[1]) == version(start()) == champion


def test_a_worker_that_hangs_stops_nobody_and_never_answers_with_the_former(
    tmp_path: Path, registry: Registry, start: Start
) -> None:
    """The leader's patience ends; the worker loads the model when its next request comes, and is counted as late."""
    registry.promote("1", CONTENT)
    leader = start(patience=0.1)
    eventually("the first champion", lambda: version(leader) == "1")
    hanging = Hanging(tmp_path / "shared")
    assert hanging.version() == "1"
    registry.promote("2", CONTENT)
    eventually("the change", lambda: version(leader) == "2")
    assert hanging.version() == "2"
    assert hanging.loads("late") == 1


def test_a_dead_worker_is_not_waited_for(tmp_path: Path, registry: Registry, start: Start) -> None:
    """Its lock has ended with it, and its file is removed."""
    registry.promote("1", CONTENT)
    leader = start()
    eventually("the first champion", lambda: version(leader) == "1")
    assert forked(lambda: Handover(tmp_path / "shared", "wine").join()) == 0
    assert len(list((tmp_path / "shared").glob("wine.worker-*"))) == 2
    registry.promote("2", CONTENT)
    eventually("the change", lambda: version(leader) == "2")
    assert len(list((tmp_path / "shared").glob("wine.worker-*"))) == 1


def test_the_next_leader_goes_on(tmp_path: Path, registry: Registry, start: Start) -> None:
    """The leader ends after it has laid a model ready; another worker leads, and the change takes place."""
    registry.promote("1", CONTENT)
    leader = start()
    eventually("the first champion", lambda: version(leader) == "1")
    other, slow = start(), Hanging(tmp_path / "shared")
    registry.promote("2", CONTENT)
    eventually("the next model", slow.handover.staged)
    leader.close()
    slow.handover.leave()
    eventually("the change", lambda: version(other) == "2")
    assert version(leader) == "2"


def changes(containers: list[Follower], number: str) -> list[float]:
    """Return when each has begun to serve that version."""
    changed: dict[int, float] = {}

    def watch(place: int) -> None:
        while version(containers[place]) != number:
            time.sleep(0.005)
        changed[place] = time.time()

    threads = [threading.Thread(target=watch, args=(place,)) for place in range(len(containers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return list(changed.values())


def test_containers_with_folders_of_their_own_change_at_the_agreed_moment(
    tmp_path: Path, registry: Registry, start: Start
) -> None:
    """They share the registry alone: each is ready before the moment that the flow has named, and waits for it."""
    registry.promote("1", CONTENT)
    containers = [start("one"), start("two")]
    eventually("the first champion", lambda: {version(container) for container in containers} == {"1"})
    copies = [copy_path(tmp_path / folder, "wine") for folder in ("one", "two")]
    for number, ahead in (("2", 3), ("3", 1.8 * LEAD_SECONDS)):
        agreed = datetime.now(UTC) + timedelta(seconds=ahead)
        registry.promote(number, CONTENT, serves_from=agreed.isoformat())
        changed = changes(containers, number)
        laid_ready = max(copy.stat().st_mtime for copy in copies)  # renaming does not change it
        assert min(changed) >= agreed.timestamp()
        if laid_ready < agreed.timestamp() - 0.5:
            return
    pytest.skip("the machine is too busy: no version was ready before its moment")


@pytest.mark.parametrize("moment", ["soon", "2100-01-01T00:00:00+00:00", "2001-01-01T00:00:00+00:00"])
def test_a_moment_that_cannot_be_meant_holds_nothing_up(registry: Registry, start: Start, moment: str) -> None:
    """What a hand, or a clock that is wrong, has written is not waited for."""
    registry.promote("1", CONTENT)
    worker = start()
    eventually("the first champion", lambda: version(worker) == "1")
    registry.promote("2", CONTENT, serves_from=moment)
    eventually("the change", lambda: version(worker) == "2")


def test_a_worker_that_cannot_load_what_the_others_serve_has_no_model(tmp_path: Path) -> None:
    """It says why, and serves again as soon as a copy can be loaded; it does not stay behind."""
    folder = tmp_path / "shared"
    save_copy(folder, "wine", Release("1", 1), CONTENT)
    worker = Hanging(folder)
    save_copy(folder, "wine", Release("2", 1), b"no model")
    assert worker.version() is None
    assert "not a readable ONNX model" in str(worker.serving.error)
    save_copy(folder, "wine", Release("2", 1), CONTENT)
    assert worker.version() == "2"
    assert worker.serving.error is None


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(lowest := os.open("/dev/null", os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("served", ["1", None])
def test_a_worker_that_cannot_read_what_the_others_serve_has_no_model(tmp_path: Path, served: str | None) -> None:
    """The copy is not damaged: it is read as soon as that goes, and until then nothing else answers."""
    folder = tmp_path / "shared"
    if served:
        save_copy(folder, "wine", Release(served, 1), CONTENT)
    worker = Hanging(folder)
    assert worker.version() == served
    save_copy(folder, "wine", Release("2", 1), CONTENT)
    with no_descriptor_left():
        assert worker.version() is None
    assert "cannot be read" in str(worker.serving.error)
    assert (worker.loads("copy_damaged"), worker.loads("failed")) == (0, 1)
    worker.serving.retry()
    assert worker.version() == "2"
    assert worker.serving.error is None


def test_what_cannot_be_read_while_it_is_laid_ready_is_read_later(tmp_path: Path) -> None:
    """The leader waits for it meanwhile."""
    worker = Hanging(tmp_path / "shared")
    stamp = worker.handover.stage(Release("1", 1), CONTENT)
    with no_descriptor_left():
        worker.serving.prepare()
    assert worker.handover.unready(stamp) == 1
    worker.serving.prepare()
    assert worker.handover.unready(stamp) == 0


@pytest.mark.parametrize("make", [*(pytest.param(make, id=kind) for kind, make in ODD.items()), Path.mkdir])
def test_odd_entries_make_room(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Whatever lies in the place of the copy, the next one, the lock or a worker's file: the change takes place."""
    folder = tmp_path / "shared"
    folder.mkdir()
    for ending in ("champion", "next", "leader", "worker-odd"):
        make(copy_path(folder, "wine", ending))
    worker = Hanging(folder)
    worker.serving.prepare()
    assert worker.version() is None
    assert worker.handover.leads()
    stamp = worker.handover.stage(Release("1", 1), CONTENT)
    make(copy_path(folder, "wine", "worker-later"))
    worker.serving.prepare()
    assert worker.handover.unready(stamp) == 0
    worker.handover.commit()
    assert worker.version() == "1"
    worker.handover.leave()


def test_a_file_system_without_locks_costs_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be agreed upon there, so the worker is on its own; nothing is left open, and no file is left."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    handover, before = Handover(tmp_path, "wine"), len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        assert handover.leads()
        with pytest.raises(OSError, match="No locks"):
            handover.join()
    assert handover.alone
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert not list(tmp_path.glob("wine.worker-*"))


def test_a_worker_whose_folder_was_not_ready_joins_later(tmp_path: Path, registry: Registry) -> None:
    """It could not be waited for at first; then it is, and the reason is gone."""
    leader = Handover(tmp_path / "shared", "wine")
    (tmp_path / "shared").write_text("a file in the folder's place")
    model = wine(tmp_path).model
    follower = Follower(registry.url, model, tmp_path / "shared", APIMetrics(model), poll_seconds=FOREVER)
    follower._stop.set()
    follower.start()
    assert "cannot be written" in str(follower.error)
    (tmp_path / "shared").unlink()
    assert leader.leads()
    follower.look()
    assert follower.error is None
    assert leader.unready((0, 0)) == 1
    leader.leave()


@pytest.mark.parametrize(
    "damage",
    [pytest.param(b"\0\0\0", id="overwritten"), pytest.param(None, id="removed"), pytest.param(b"", id="empty")],
)
def test_a_damaged_copy_is_fetched_again(
    tmp_path: Path, registry: Registry, start: Start, damage: bytes | None
) -> None:
    """What serves serves on, and the next start finds a copy."""
    registry.promote("1", CONTENT)
    worker = start()
    eventually("the first champion", lambda: version(worker) == "1")
    path = copy_path(tmp_path / "shared", "wine")
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    assert version(worker) == "1"
    eventually("the copy", lambda: path.exists() and path.stat().st_size > len(CONTENT))
    assert Hanging(tmp_path / "shared").version() == "1"


def test_a_folder_that_takes_no_file_serves_the_first_champion_alone(
    tmp_path: Path, registry: Registry, start: Start
) -> None:
    """Without a copy nothing can be agreed upon; the workers serve nevertheless, and say so."""
    (tmp_path / "shared").write_text("a file in the folder's place")
    registry.promote("1", CONTENT)
    workers = [start(), start()]
    eventually("the first champion", lambda: {version(worker) for worker in workers} == {"1"})
    eventually("the reason", lambda: "cannot be written" in str(workers[0].error))


def test_what_the_leader_finds_is_told_by_every_worker(registry: Registry, start: Start) -> None:
    """Whichever worker answers `/model` says why the champion is not served."""
    registry.promote("1", CONTENT)
    workers = [start(), start()]
    eventually("the first champion", lambda: {version(worker) for worker in workers} == {"1"})
    registry.promote("2", b"no model")
    for worker in workers:
        eventually("the refusal", lambda worker=worker: "version 2: " in str(worker.error))
    registry.promote("1", CONTENT)
    for worker in workers:
        eventually("peace", lambda worker=worker: worker.error is None)


def test_a_removed_lock_makes_no_second_leader(tmp_path: Path) -> None:
    """Somebody cleans the folder: who held the lock sees that it is gone, and tries like all others."""
    one, two = Handover(tmp_path, "wine"), Handover(tmp_path, "wine")
    assert one.leads()
    assert not two.leads()
    (tmp_path / "wine.leader").unlink()
    assert two.leads()
    assert not one.leads()
    two.leave()
    assert one.leads()
    one.leave()
