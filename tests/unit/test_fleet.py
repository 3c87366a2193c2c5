"""Many models in one monitor: a folder of configs that changes, and what one model's trouble is to the others."""

import itertools
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry

from monitoring.contract.errors import ConfigError
from monitoring.fleet.fleet import Fleet
from monitoring.fleet.fleet_metrics import FleetCollector
from monitoring.fleet.rounds import Rounds
from monitoring.monitor import Monitor
from monitoring.page.fleet_page import create_fleet_app
from tests.processes import eventually, free_port, process
from tests.unit.fleet_fixtures import NOWHERE, Folder, look


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def _client(fleet: Fleet) -> FlaskClient:
    registry = CollectorRegistry()
    registry.register(FleetCollector(fleet))
    return create_fleet_app(fleet, registry, lambda: True).test_client()


def _models(client: FlaskClient) -> list[str]:
    return [group["labels"]["model"] for group in client.get("/sd").json]


def test_drift_in_one_shows_only_there(folder: Folder) -> None:
    """Each has its own verdict, metrics, report and folder; the overview begins with who is in trouble."""
    for name, shift in (("calm", 0.0), ("drifting", 2.0), ("still", 0.0)):
        folder.fill(name, shift=shift)
    fleet = folder.fleet()
    look(fleet)
    client = _client(fleet)
    page = client.get("/").text
    assert "1 of 3 models needs attention" in page
    assert "1 drifts or fails its tests, 2 are well." in page
    assert page.index("/models/drifting/") < page.index("/models/calm/") < page.index("/models/still/")
    verdicts = {name: member.monitor.state.report.snapshot.verdict for name, member in fleet.members.items()}
    assert verdicts == {"calm": "passing", "drifting": "failing", "still": "passing"}
    assert "The data have drifted" in client.get("/models/drifting/").text
    assert "The data have drifted" not in client.get("/models/calm/").text
    for name in fleet.members:
        assert "rowcount 120.0" in client.get(f"/models/{name}/metrics").text
        assert f'href="/models/{name}/report"' in client.get(f"/models/{name}/").text
        (kept,) = (folder.data / name / "_reports").glob("*.html")
        assert f'href="/models/{name}/reports/{kept.stem}"' in client.get(f"/models/{name}/reports").text
        assert client.get(f"/models/{name}/report").text == kept.read_text()
        assert client.get(f"/models/{name}/ready").json == {"status": "ready"}
    assert 'monitor_models{state="ok"} 3.0' in client.get("/metrics").text
    assert "rowcount" not in client.get("/metrics").text


def test_prometheus_finds_each_model_where_it_has_asked(folder: Folder) -> None:
    """The address is the one that it knows the monitor by."""
    folder.fill("one")
    fleet = folder.fleet()
    fleet.scan()
    assert _client(fleet).get("/sd", base_url="http://monitor:8000").json == [
        {"targets": ["monitor:8000"], "labels": {"model": "one", "__metrics_path__": "/models/one/metrics"}}
    ]


def test_files_come_change_and_go(folder: Folder) -> None:
    """Without a restart, and without touching the others, whose monitors stay the same objects."""
    folder.fill("one")
    folder.fill("two")
    fleet = folder.fleet()
    look(fleet)
    client, one = _client(fleet), fleet.members["one"]
    folder.fill("three")
    look(fleet)
    assert _models(client) == ["one", "three", "two"]
    folder.write("two", minimum_rows=60)
    look(fleet)
    assert fleet.members["two"].monitor.config.minimum_rows == 60
    (folder.configs / "two.yml").unlink()
    fleet.scan()
    assert _models(client) == ["one", "three", "two"]  # an editor may be renaming it
    fleet.scan()
    assert _models(client) == ["one", "three"]
    assert [client.get(path).status_code for path in ("/models/two/", "/models/two/metrics")] == [404, 404]
    assert "/models/two/" not in client.get("/").text
    assert fleet.members["one"] is one
    assert (folder.data / "two/current.parquet").is_dir()


def test_faulty_files_hold_up_no_model(folder: Folder) -> None:
    """Not YAML, a name with a slash, a name that another has: named on the page, counted, and without a target."""
    folder.fill("sound")
    (folder.configs / "broken.yml").write_text("model: [")
    folder.write("up/down", "slash.yml")
    folder.write("SOUND", "twin.yml")
    fleet = folder.fleet()
    look(fleet)
    client = _client(fleet)
    page, metrics = client.get("/").text, client.get("/metrics").text
    assert "3 config files cannot be used" in page
    for file, told in (("broken", "YAML"), ("slash", "up/down"), ("twin", "names the model SOUND")):
        assert f'monitor_config_faulty{{file="{file}.yml"}} 1.0' in metrics
        assert told in page
        assert f"{file}.yml" in client.get("/ready").json["not_ready"]
    assert _models(client) == ["sound"]
    assert client.get("/ready").status_code == 200


def test_targets_are_kept_until_the_folder_was_looked_at(folder: Folder) -> None:
    """After a 503 Prometheus keeps what it has: no list would resolve all alerts. No file's name breaks the pages."""
    folder.fill("one")
    (folder.configs / os.fsdecode(b"\xff.yml")).write_text("model: [")
    fleet = folder.fleet()
    client = _client(fleet)
    assert client.get("/sd").status_code == 503
    fleet.scan()
    assert [one["labels"]["model"] for one in client.get("/sd").json] == ["one"]
    assert (
        r'monitor_config_faulty{file="\\udcff.yml"} 1.0' in client.get("/metrics").text
    )  # no name of a file breaks it
    assert r"\udcff.yml" in client.get("/ready").json["not_ready"]


def test_a_file_that_becomes_faulty_stops_no_watch(folder: Folder) -> None:
    """The model is watched on by what the file said before, until it is removed."""
    folder.fill("one")
    fleet = folder.fleet()
    look(fleet)
    one = fleet.members["one"]
    (folder.configs / "one.yml").write_text("model: [")
    fleet.scan()
    assert fleet.members["one"] is one
    assert [path.name for path in fleet.faults] == ["one.yml"]
    (folder.configs / "one.yml").unlink()
    fleet.scan()
    fleet.scan()
    assert not fleet.members
    assert not fleet.faults
    assert "No model is watched" in _client(fleet).get("/").text


def test_a_folder_that_goes_away_stops_no_watch(folder: Folder) -> None:
    """It is told of, and read again when it is back."""
    folder.fill("one")
    fleet = folder.fleet()
    fleet.scan()
    folder.configs.rename(folder.configs.with_name("away"))
    fleet.scan()
    assert list(fleet.members) == ["one"]
    assert list(fleet.faults) == [folder.configs]
    assert "cannot be read" in _client(fleet).get("/").text
    folder.configs.with_name("away").rename(folder.configs)
    fleet.scan()
    assert not fleet.faults


def test_a_models_trouble_is_its_own(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reference is missing, gone or damaged, a file of its log is no Parquet, its cycle crashes: others go on."""
    for name in ("absent", "crashed", "damaged", "gone", "unreadable", "well"):
        folder.fill(name)
    (folder.data / "absent/reference.parquet").unlink()
    (folder.data / "damaged/reference.parquet").write_bytes(b"no Parquet")
    next((folder.data / "unreadable/current.parquet").iterdir()).write_bytes(b"no Parquet")
    fleet = folder.fleet()
    look(fleet)
    (folder.data / "gone/reference.parquet").unlink()

    def crash() -> None:
        raise RuntimeError("as no stage tells")

    monkeypatch.setattr(fleet.members["crashed"].monitor, "cycle", crash)
    look(fleet)
    standing = {name: fleet.standing(member) for name, member in fleet.members.items()}
    assert standing == {
        "absent": "waiting", "crashed": "failing", "damaged": "failing", "gone": "failing", "unreadable": "ok",
        "well": "ok",
    }  # fmt: skip
    client = _client(fleet)
    page = client.get("/").text
    for told in ("there is no reference yet", "RuntimeError: as no stage tells", "1 file is left out"):
        assert told in page
    assert 'monitor_models{state="failing"} 3.0' in client.get("/metrics").text
    assert 'monitor_failures_total{stage="cycle"} 1.0' in client.get("/models/crashed/metrics").text
    assert client.get("/models/well/ready").status_code == 200
    assert client.get("/models/absent/ready").status_code == 503
    assert set(client.get("/ready").json["not_ready"]) == {"absent", "damaged"}  # the others' figures still hold


def test_the_password_holds_for_every_models_pages(folder: Folder, tmp_path: Path) -> None:
    """Without it no page and no report, whatever the model is called; what machines read stays open."""
    (tmp_path / "password").write_text("of the monitor\n")
    for name in ("metrics", "one"):
        folder.fill(name)
    fleet = folder.fleet(monitor_password_file=tmp_path / "password")
    fleet.scan()
    client, login = _client(fleet), ("driftloop", "of the monitor")
    closed = ["/", "/models/one/", "/models/metrics/", "/models/one/report", "/models/one/reports", "/models/none/"]
    assert {client.get(path).status_code for path in closed} == {401}
    assert [client.get(path, auth=login).status_code for path in closed] == [200, 200, 200, 404, 200, 404]
    for path, status in (("/metrics", 200), ("/sd", 200), ("/health", 200), ("/ready", 503)):
        assert client.get(path).status_code == status
    assert client.get("/models/one/metrics").status_code == 200


def test_a_log_of_others_stops_the_start(folder: Folder) -> None:
    """PREDICTION_LOG is one model's."""
    with pytest.raises(ConfigError, match="PREDICTION_LOG"):
        folder.fleet(prediction_log=str(folder.data))


@pytest.fixture
def rounds() -> Iterator[Callable[..., Rounds]]:
    made = []

    def make(*arguments: Any, **options: Any) -> Rounds:
        made.append(Rounds(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def test_looks_that_do_not_end_take_no_others_turn(rounds: Callable[..., Rounds]) -> None:
    """However many there are: none is begun again before it has ended."""
    ended, seen = threading.Event(), []

    def look(name: str) -> None:
        seen.append(name)
        if name.startswith("endless"):
            ended.wait()

    turns = rounds(0.02, look, long=0.05)
    for name in ("endless 1", "endless 2", "endless 3", "well"):
        turns.admit(name)

    def others_go_on() -> bool:
        turns.tend()
        return all(turns.lasts(f"endless {n}") > 0.05 for n in (1, 2, 3)) and seen.count("well") > 20

    eventually("the turns of the one that is well", others_go_on, 20)
    assert all(seen.count(f"endless {n}") == 1 for n in (1, 2, 3))
    ended.set()
    eventually("the end of the long looks", lambda: seen.count("endless 1") > 1, 20)


def test_a_model_that_changed_waits_for_no_look_that_does_not_end(rounds: Callable[..., Rounds]) -> None:
    """Its next look begins beside the one that is left to itself."""
    ended, seen = threading.Event(), []

    def look(name: str) -> None:
        seen.append(name)
        if len(seen) == 1:
            ended.wait()

    turns = rounds(60.0, look, long=0.05)
    turns.admit("one")
    turns.tend()
    eventually("a look that takes long", lambda: turns.lasts("one") > 0.05, 20)
    turns.admit("one")
    turns.tend()
    eventually("the next look", lambda: len(seen) == 2, 20)
    ended.set()


def test_turns_are_spread_over_the_interval(rounds: Callable[..., Rounds]) -> None:
    """However many there are: the gaps between their times in the interval are of a size."""
    turns = rounds(100.0, lambda _: None)
    for number in range(20):
        turns.admit(str(number))
    times = sorted(turns._following(name, 1000.0) for name in turns._phases)
    gaps = [later - before for before, later in itertools.pairwise(times)]
    assert all(1000 < moment <= 1100 for moment in times)
    assert max(gaps) < 10  # of 100 among 20


def test_a_name_that_is_dismissed_has_no_more_turns(rounds: Callable[..., Rounds]) -> None:
    """The others keep theirs."""
    seen: list[str] = []
    turns = rounds(0.01, seen.append)
    for name in ("stays", "goes"):
        turns.admit(name)
    turns.tend()
    eventually("both", lambda: {"stays", "goes"} <= set(seen), 20)
    turns.dismiss("goes")
    eventually("the look that was under way", lambda: "goes" not in turns._looking, 20)
    before = seen.count("goes")
    turn = seen.count("stays")
    eventually("more turns", lambda: seen.count("stays") > turn + 5, 20)
    assert seen.count("goes") == before


def test_a_monitor_that_is_replaced_ends_what_it_began(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if that is in the middle of a cycle: its calibration is nobody's any more."""
    folder.fill("one")
    fleet = folder.fleet()
    fleet.scan()
    old, stopped = fleet.members["one"].monitor, []

    def stop(monitor: Monitor) -> None:
        stopped.append(monitor)

    monkeypatch.setattr(Monitor, "stop", stop)

    def changed_meanwhile() -> None:
        folder.write("one", minimum_rows=60)
        fleet.scan()
        stopped.clear()

    monkeypatch.setattr(old, "cycle", changed_meanwhile)
    fleet._look("one")
    assert stopped == [old]


def test_one_process_watches_a_folder(folder: Folder, tmp_path: Path) -> None:
    """A log of 300,000 rows holds up none of ten; a file that is removed ends its target, one that comes has one."""
    folder.fill("huge", rows=300_000)
    folder.fill("tiny", rows=10)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "DATA_DIR": str(folder.data), "DRIFTLOOP_CONFIG": str(folder.configs), "MONITOR_PORT": str(port),
        "MONITOR_INTERVAL_SECONDS": "1", "DRIFT_ALARM": "off", "PROMETHEUS_API_URL": NOWHERE,
    }  # fmt: skip

    def get(path: str) -> str:
        return requests.get(f"{url}{path}", timeout=5).text

    with process([sys.executable, "-m", "monitoring", "run"], tmp_path / "log", environment) as monitor:
        both = 'monitor_models{state="ok"} 2.0'
        eventually("a cycle of both", lambda: both in get("/metrics"), 90)
        for name, rows in (("huge", 500), ("tiny", 10)):
            assert f"\nrowcount {rows}.0\n" in get(f"/models/{name}/metrics")
        assert "process_resident_memory_bytes" in get("/metrics")
        assert "Collecting rows: 10 of 50" in get("/")
        (folder.configs / "huge.yml").unlink()
        folder.fill("new")
        eventually("the models that are there now", lambda: '"huge"' not in get("/sd") and '"new"' in get("/sd"), 30)
        eventually("a cycle of the new one", lambda: both in get("/metrics"), 30)
        assert requests.get(f"{url}/models/huge/metrics", timeout=5).status_code == 404
    assert monitor.returncode == 0
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {event["model"] for event in events if event["event"] == "cycle_done"} == {"huge", "tiny", "new"}
