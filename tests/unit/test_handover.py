"""How the workers of an API change over to another model together, each worker an object with a folder in common."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api.handover import Handover
from api.metrics import APIMetrics
from api.model import Release, copy_path, save_copy
from api.registry import Follower
from api.serving import Serving
from tests.processes import eventually
from tests.unit.api_fixtures import onnx_model
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


def test_containers_with_folders_of_their_own_change_at_the_agreed_moment(registry: Registry, start: Start) -> None:
    """They share the registry alone: each is ready before the moment that the flow has named, and waits for it."""
    registry.promote("1", CONTENT)
    containers = [start("one"), start("two")]
    eventually("the first champion", lambda: {version(container) for container in containers} == {"1"})
    agreed = datetime.now(UTC) + timedelta(seconds=1)
    registry.promote("2", CONTENT, serves_from=agreed.isoformat())
    changed: dict[int, float] = {}

    def watch(place: int) -> None:
        while version(containers[place]) == "1":
            time.sleep(0.005)
        changed[place] = time.time()

    threads = [threading.Thread(target=watch, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert min(changed.values()) >= agreed.timestamp()
    assert {version(container) for container in containers} == {"2"}


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
