"""A private Prometheus on the past: it alone says what an alert's expression was worth then."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import requests

from monitoring.backtest.alert_rules import AlertRule, Labels, Outcome, Samples, find_firings, metrics_in
from monitoring.backtest.openmetrics import Spool
from monitoring.contract.errors import DriftloopError

PRIVATE = Path(".local/tools/bin")  # where `make setup` puts the tools
POINTS = 10_000  # of a series in one answer; Prometheus gives 11,000
PATIENCE = 60.0  # seconds until it has to be ready
_BLOCKS = "--max-block-duration=100000h"  # promtool reads the whole text once for each block


@dataclass(frozen=True)
class Binaries:
    """The two programs."""

    prometheus: Path
    promtool: Path


def find_binaries(folder: Path | None) -> Binaries | None:
    """Find the programs in a folder, or on PATH, or where `make setup` puts them; return None if there are none.

    Raise DriftloopError if a folder is named that does not hold them.
    """
    paths = [str(folder)] if folder else [None, str(PRIVATE.absolute())]
    for path in paths:
        prometheus, promtool = (shutil.which(name, path=path) for name in ("prometheus", "promtool"))
        if prometheus and promtool:
            return Binaries(Path(prometheus), Path(promtool))
    if folder is not None:
        raise DriftloopError(f"{folder}: does not hold prometheus and promtool")
    return None


def check_rules(binaries: Binaries, paths: Iterable[Path]) -> None:
    """Let promtool read rule files; raise DriftloopError with what it says if one is wrong."""
    run = subprocess.run([binaries.promtool, "check", "rules", *paths], capture_output=True, text=True, check=False)
    if run.returncode:
        raise DriftloopError(f"promtool does not take the rules:\n{(run.stdout + run.stderr).strip()}")


def ask_alerts(
    binaries: Binaries, alerts: Sequence[AlertRule], spool: Spool, moments: range, folder: Path
) -> tuple[Outcome, ...]:
    """Return how the alerts that speak about a spooled metric would have fared at these moments."""
    wanted = {alert: metrics_in(alert.expr, spool.names) for alert in alerts}
    asked = [alert for alert, names in wanted.items() if names & spool.names]
    if not asked:
        return ()
    step = moments.step / 1e6
    spool.write(folder / "past.om", frozenset().union(*(wanted[alert] for alert in asked)) & spool.names)
    command: list[str | Path] = [binaries.promtool, "tsdb", "create-blocks-from", "openmetrics", "-q", _BLOCKS]
    run = subprocess.run([*command, folder / "past.om", folder / "data"], capture_output=True, text=True, check=False)
    if run.returncode:
        raise DriftloopError(f"promtool does not take the metrics:\n{run.stderr.strip()}")
    with _serve(binaries, folder, step) as url:
        outcomes = [_ask(url, alert, moments) for alert in asked]
    return tuple(replace(outcome, absent=tuple(sorted(wanted[outcome.alert] - spool.names))) for outcome in outcomes)


@contextlib.contextmanager
def _serve(binaries: Binaries, folder: Path, step: float) -> Iterator[str]:
    """Run Prometheus on the blocks, without scraping, reachable from this machine alone."""
    (folder / "prometheus.yml").write_text("global: {}\n", encoding="utf-8")
    port = _free_port()
    command: list[str | Path] = [
        binaries.prometheus,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--query.lookback-delta={round(step * 1000) - 1}ms",  # a look's value is not the next one's
        "--log.level=warn",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, process, folder / "prometheus.log")
        yield url
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(requests.RequestException):
            if _session().get(f"{url}/-/ready", timeout=5).ok:
                return
        time.sleep(0.1)
    raise DriftloopError(f"the private Prometheus does not start:\n{log.read_text(errors='replace')[-1000:]}")


def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # no proxy stands between this machine and itself
    return session


def _ask(url: str, alert: AlertRule, moments: range) -> Outcome:
    """Ask for the values that an alert's expression had, piece by piece."""
    found: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    with _session() as session:
        for start in range(0, len(moments), POINTS):
            piece = moments[start : start + POINTS]
            asked = {"query": alert.expr, "start": piece[0] / 1e6, "end": piece[-1] / 1e6, "step": moments.step / 1e6}
            answer = session.post(f"{url}/api/v1/query_range", data=asked, timeout=300)
            content = answer.json()
            if content["status"] != "success":
                return Outcome(alert, problem=content["error"])
            for series in content["data"]["result"]:
                samples = found.setdefault(tuple(sorted(series["metric"].items())), [])
                samples += [(float(time), float(value)) for time, value in series["values"]]
    return _outcome(alert, [(dict(labels), samples) for labels, samples in found.items()], moments)


def _outcome(alert: AlertRule, series: Sequence[tuple[Labels, Samples]], moments: range) -> Outcome:
    step, last = moments.step / 1e6, moments[-1] / 1e6
    firings = find_firings(series, alert.hold, step)
    share = sum(round(((one.end or 0) - one.begin) / step) for one in firings) / len(moments)
    return Outcome(alert, tuple(replace(one, end=None) if (one.end or 0) > last else one for one in firings), share)
