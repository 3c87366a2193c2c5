"""Asking Prometheus what fires: one thread waits, nobody else does."""

import json
import socket
import threading
from http.server import ThreadingHTTPServer

from monitoring.page.firing_alerts import AlertReader
from tests.processes import QuietHandler, serving


class Prometheus(QuietHandler):
    """One alert fires for two models, one for another, and one for the stack."""

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server looks for
        labels = [("ModelDrift", "loans"), ("ModelDrift", "genres"), ("MonitorStale", "flights"), ("TargetDown", None)]
        alerts = [
            {
                "labels": {"alertname": name} | ({"model": model} if model else {}),
                "annotations": {},
                "state": "firing",
                "activeAt": "2026-11-28T10:00:00Z",
            }
            for name, model in labels
        ]
        self.answer(200, json.dumps({"data": {"alerts": alerts}}))


def test_one_of_many_models_is_shown_its_own_alerts_and_the_stacks() -> None:
    """All of them are told with their models."""
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Prometheus)) as port:
        all_of_them, loans = (AlertReader(f"http://127.0.0.1:{port}", model=model).read() for model in (None, "loans"))
    told = {alert.name: alert.models for alert in all_of_them.firing}
    assert told == {"ModelDrift": ("genres", "loans"), "MonitorStale": ("flights",), "TargetDown": ()}
    assert {alert.name: alert.series for alert in loans.firing} == {"ModelDrift": 1, "TargetDown": 1}


def test_a_prometheus_that_hangs_holds_up_one_thread_alone() -> None:
    """While one reader waits for an answer the next returns at once, and does not claim that nothing fires."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        reader = AlertReader(f"http://127.0.0.1:{server.getsockname()[1]}")
        first = threading.Thread(target=reader.read)
        first.start()
        connection, _ = server.accept()
        with connection:
            second = reader.read()
            assert first.is_alive()
            assert second.firing == ()
            assert second.problem is not None
        first.join()
    assert "cannot say what fires" in str(reader.read().problem)
