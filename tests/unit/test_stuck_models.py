"""Models and copies that would hang, fill the memory or answer otherwise: they are refused, told, and left behind."""

import hashlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from api import bounded_get
from api.metrics import APIMetrics
from api.model import Release, copy_path, save_copy
from api.registry import Follower
from monitoring.contract.onnx import trial_process
from monitoring.contract.onnx.model import UnfitModelError
from monitoring.contract.onnx.trial_process import InterruptedTrialError, try_apart
from tests.processes import eventually
from tests.unit.own_models import FEATURES, Graph, converted, named, train, wine_of

WINES = wine_of("red", "white")
NAME = WINES.model.name
FOREVER = 1e9
GOOD = named(converted(train(("red", "white"))), classes=["red", "white"], features=FEATURES)


def endless() -> bytes:
    """Return a model that fits but for a loop whose condition never turns false."""
    graph = Graph().tensor()
    counter = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("before", "after")]
    going = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("goes", "goes_on")]
    turn = helper.make_tensor_value_info("turn", TensorProto.INT64, [])
    steps = [helper.make_node("Add", ["before", "one"], ["after"]), helper.make_node("Identity", ["goes"], ["goes_on"])]
    body = helper.make_graph(steps, "body", [turn, going[0], counter[0]], [going[1], counter[1]])
    graph.constants |= {"yes": np.array(True), "one": np.ones(1, np.float32)}
    graph.node("Loop", ["", "yes", "one"], "sum", body=body)
    graph.node("Mul", ["rows", "sum"], "multiplied")
    graph.node("MatMul", ["multiplied", "weights"], "scores")
    graph.node("Softmax", ["scores"], "probabilities", axis=1)
    return named(graph.out("probabilities", ["N", 2]).model(), classes=["red", "white"])


def greedy(numbers: int) -> bytes:
    """Return a model that fits, and fills so many float32 on the way."""
    graph = Graph().tensor()
    graph.constants |= {"least": np.array([numbers], np.int64), "first": np.zeros(1, np.int64)}
    graph.node("Shape", ["rows"], "shape")
    graph.node("Gather", ["shape", "first"], "count")
    graph.node("Max", ["count", "least"], "size")
    graph.node("ConstantOfShape", ["size"], "filled")
    graph.node("ReduceMax", ["filled"], "none", keepdims=0)
    graph.node("Add", ["rows", "none"], "same")
    graph.node("MatMul", ["same", "weights"], "scores")
    graph.node("Softmax", ["scores"], "probabilities", axis=1)
    return named(graph.out("probabilities", ["N", 2]).model(), classes=["red", "white"])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_process, "CPU_SECONDS", 3)
    monkeypatch.setattr(trial_process, "PATIENCE", 200)  # the machine may be busy


def test_a_model_is_tried_with_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that takes too much is a fault of the model's; what only does not fit the config is told apart."""
    with pytest.raises(UnfitModelError) as found:
        try_apart(named(converted(train(("red", "white"))), features=FEATURES[::-1]), WINES.model)
    assert "in this order" in found.value.misfits[0]
    monkeypatch.setattr(trial_process, "MEMORY", 300_000_000)
    try_apart(GOOD, WINES.model)
    with pytest.raises(UnfitModelError) as fault:
        try_apart(greedy(75_000_000), WINES.model)
    assert fault.value.faults


class Registry:
    """An MLflow with one version per number, whose artifacts are sent as `send` does."""

    def __init__(self) -> None:
        self.champion, self.versions = 1, {1: GOOD}
        self.tags: list[dict[str, str]] = []
        self.send: Callable[[BaseHTTPRequestHandler, bytes], None] = send_whole
        self.asked = threading.Event()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, query = urlsplit(request.path).path, parse_qs(urlsplit(request.path).query)
        if path.endswith("/alias"):
            version = {"version": str(self.champion), "creation_timestamp": self.champion, "tags": self.tags}
            send_whole(request, json.dumps({"model_version": version}).encode())
        elif path.endswith("/get-download-uri"):
            uri = f"mlflow-artifacts:/{query['version'][0]}"
            send_whole(request, json.dumps({"artifact_uri": uri}).encode())
        else:
            self.send(request, self.versions[int(path.split("/")[-2])])


def send_whole(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)


@contextmanager
def serving(registry: Registry) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            registry.answer(self)

        def log_message(self, *_: Any) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def follower_of(url: str, cache: Path) -> Follower:
    return Follower(url, WINES.model, cache, APIMetrics(WINES.model), poll_seconds=60)


def served(follower: Follower) -> tuple[str, str] | None:
    """Return version and source of what serves."""
    found = follower.serving()
    return (found.release.version, found.source) if found else None


def loads(follower: Follower, outcome: str) -> float:
    return follower._metrics.model_loads.labels(outcome)._value.get()


def test_a_champion_whose_loop_never_ends_is_passed_over(impatient: None, tmp_path: Path) -> None:
    """The former one serves, the reason is told, and a good version later is taken."""
    registry = Registry()
    with serving(registry) as url:
        follower = follower_of(url, tmp_path)
        follower.look()
        registry.versions |= {2: endless(), 3: GOOD}
        registry.champion = 2
        follower.look()
        assert served(follower) == ("1", "registry")
        assert follower.error == "version 2: it has not answered after 3 s of computing"
        assert loads(follower, "refused") == 1
        follower.look()
        assert loads(follower, "refused") == 1
        registry.champion = 3
        follower.look()
        assert (served(follower), follower.error) == (("3", "registry"), None)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.model._PAUSE_SECONDS", 0.0)


def ending(folder: Path, signal: str) -> str:
    """Return a program in Python's place, which a signal ends."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\ncat > /dev/null\nkill -{signal} $$\n")
    program.chmod(0o700)
    return str(program)


@pytest.mark.parametrize("way", ["killed", "cannot start"])
def test_a_trial_that_the_system_ends_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """It says nothing about the model: after a pause the version is tried again, and served."""
    registry = Registry()
    with serving(registry) as url:
        follower = follower_of(url, tmp_path)
        python = ending(tmp_path, "KILL") if way == "killed" else str(tmp_path / "no python")
        outcome = "refused" if way == "killed" else "failed"
        with monkeypatch.context() as system:
            system.setattr(sys, "executable", python)
            for pause, count in ((0.0, 1), (FOREVER, 2), (FOREVER, 2)):
                system.setattr("api.model._PAUSE_SECONDS", pause)
                follower.look()
                assert loads(follower, outcome) == count
        assert served(follower) is None
        assert ("has ended a process (-9)" if way == "killed" else "No such file") in (follower.error or "")
        registry.versions[2], registry.champion = GOOD, 2
        follower.look()
        assert (served(follower), follower.error) == (("2", "registry"), None)


def test_a_signal_for_computing_too_much_is_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", ending(tmp_path, "XCPU"))
    with pytest.raises(UnfitModelError) as found:
        try_apart(GOOD, WINES.model)
    assert not isinstance(found.value, InterruptedTrialError)


def test_one_bad_download_refuses_nothing_for_good(tmp_path: Path, no_pause: None) -> None:
    """The registry has the file that was registered; the next download has it too."""
    registry = Registry()
    registry.tags = [{"key": "model_sha256", "value": hashlib.sha256(GOOD).hexdigest()}]
    registry.send = lambda request, content: send_whole(request, content[:-1] + b"x")
    with serving(registry) as url:
        follower = follower_of(url, tmp_path)
        follower.look()
        assert served(follower) is None
        assert loads(follower, "refused") == 1
        assert "the file is damaged" in (follower.error or "")
        registry.send = send_whole
        follower.look()
        assert (served(follower), follower.error) == (("1", "registry"), None)


def test_where_no_file_can_be_kept_a_version_is_fetched_once(tmp_path: Path, no_pause: None) -> None:
    """It serves alone, and says why; the next version is fetched again, once there is a folder too."""
    registry, fetched = Registry(), []
    registry.send = lambda request, content: (fetched.append(request.path), send_whole(request, content))[1]
    folder = tmp_path / "model"
    folder.write_text("a file in the folder's place")
    with serving(registry) as url:
        follower = follower_of(url, folder)
        for _ in range(3):
            follower.look()
            assert served(follower) == ("1", "registry")
            assert "cannot be written" in (follower.error or "")
        assert len(fetched) == 1
        folder.unlink()
        follower.look()
        assert (served(follower), follower.error) == (("1", "registry"), None)
        assert copy_path(folder, NAME).exists()


def test_lower_limits_of_the_account_refuse_no_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hard limit of the CPU's time below ours stays, and the trial takes place; what reaches it is at fault."""
    program = tmp_path / "python"

    def limit(seconds: int) -> None:
        program.write_text(f'#!/bin/sh\nulimit -t {seconds}\nexec {python} "$@"\n')

    python = sys.executable
    monkeypatch.setattr(sys, "executable", str(program))
    limit(50)
    program.chmod(0o700)
    try_apart(GOOD, WINES.model)
    limit(8)
    with pytest.raises(UnfitModelError, match="of computing"):
        try_apart(endless(), WINES.model)


@pytest.mark.parametrize("place", ["model", "version"])
def test_a_bit_that_flipped_in_the_local_copy_is_found(tmp_path: Path, place: str) -> None:
    """What it makes of the copy would be served as if nothing were: it is fetched again, and counted."""
    save_copy(tmp_path, NAME, Release("1", 1), GOOD)
    path = copy_path(tmp_path, NAME)
    header, _, content = path.read_bytes().partition(b"\n")
    if place == "model":
        other = onnx.load_from_string(content)
        scaler = next(node for node in other.graph.node if node.op_type == "Scaler")
        scales = next(attribute for attribute in scaler.attribute if attribute.name == "scale")
        scales.floats[0] *= 2  # one bit of the exponent
        content = other.SerializeToString()
    else:
        header = header.replace(b'"version":"1"', b'"version":"3"')
    path.write_bytes(header + b"\n" + content)
    with serving(Registry()) as url:
        follower = follower_of(url, tmp_path)
        assert follower.serving() is None
        assert loads(follower, "copy_damaged") == 1
        assert "it is not what was kept" in (follower.error or "")
        follower.look()
        assert served(follower) == ("1", "registry")
        again = follower_of("http://127.0.0.1:9", tmp_path)
        assert served(again) == ("1", "local copy")
        assert loads(again, "copy_damaged") == 0


def hanging() -> int:
    return sum(thread.name == "bounded-get" for thread in threading.enumerate())


def head_by_bytes(request: BaseHTTPRequestHandler, stop: threading.Event) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not stop.wait(0.02):
        request.wfile.write(b"x")


def body_by_bytes(request: BaseHTTPRequestHandler, stop: threading.Event) -> None:
    request.send_response(200)
    request.end_headers()
    while not stop.wait(0.02):
        request.wfile.write(b"x")


def body_without_end(request: BaseHTTPRequestHandler, stop: threading.Event) -> None:
    request.send_response(200)
    request.end_headers()
    while not stop.is_set():
        request.wfile.write(b"x" * 100_000)


@pytest.mark.parametrize(
    ("way", "outcome"),
    [(head_by_bytes, "unreachable"), (body_by_bytes, "unreachable"), (body_without_end, "refused")],
)
def test_a_registry_that_never_comes_to_an_end_holds_nobody(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_pause: None,
    way: Callable[[BaseHTTPRequestHandler, threading.Event], None],
    outcome: str,
) -> None:
    """Byte by byte, or more and more: the champion serves on, and the version is taken when the registry is well."""
    registry, stop = Registry(), threading.Event()

    def send(request: BaseHTTPRequestHandler, _content: bytes) -> None:
        try:
            way(request, stop)
        except OSError:  # the client has gone
            request.close_connection = True

    with serving(registry) as url:
        follower = follower_of(url, tmp_path)
        follower.look()
        registry.versions[2], registry.champion, registry.send = GOOD, 2, send
        with monkeypatch.context() as limits:
            limits.setattr(bounded_get, "LONGEST", 0.5)
            limits.setattr(bounded_get, "LARGEST", 5_000_000)
            follower.look()
        assert served(follower) == ("1", "registry")
        assert loads(follower, outcome) == 1
        stop.set()
        registry.send = send_whole
        follower.look()
        assert served(follower) == ("2", "registry")
    eventually(
        "the request that was given up to end", lambda: "bounded-get" not in {t.name for t in threading.enumerate()}
    )


def test_few_requests_hang_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that was given up may hang for long; beside some of them no more are begun."""
    registry, stop = Registry(), threading.Event()
    registry.send = lambda request, _content: head_by_bytes(request, stop)
    monkeypatch.setattr(bounded_get, "LONGEST", 0.1)
    asking = bounded_get.BoundedGet()
    with serving(registry) as url:
        for _ in range(bounded_get.MOST_HANGING + 2):
            with pytest.raises(bounded_get.UnansweredError):
                asking.get(f"{url}/1/model.onnx", {})
        assert hanging() == bounded_get.MOST_HANGING
        stop.set()
