"""Requests a second of `POST /predict` under three servers: the API's, waitress, and gunicorn's own thread worker.

As in benchmarks.prediction_log_throughput: side by side, two workers each, loaded by wrk one after the other.

    python -m benchmarks.api_servers [--rounds 7] [--seconds 3]
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.prediction_log_throughput import single
from benchmarks.servers import keep_champion

SERVERS = (
    ("the API's worker (`api/workers.py`)", "with_log", {}),
    (
        "waitress as gunicorn's worker",
        "with_log",
        {"GUNICORN_CMD_ARGS": "--worker-class benchmarks.waitress_worker.WaitressWorker"},
    ),
    (
        "gunicorn's own thread worker, which buffers nothing",
        "with_log",
        {"GUNICORN_CMD_ARGS": "--worker-class gthread"},
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="driftloop-") as temporary:
        folder = Path(temporary)
        keep_champion(folder)
        single(folder, options.rounds, options.seconds, SERVERS)


if __name__ == "__main__":
    main()
