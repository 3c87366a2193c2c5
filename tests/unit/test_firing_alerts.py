"""Asking Prometheus what fires: one thread waits, nobody else does."""

import socket
import threading

from monitoring.page.firing_alerts import AlertReader


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
