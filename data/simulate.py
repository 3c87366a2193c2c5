"""Traffic for demos, tests and drills, over HTTP as clients would send it: `python -m data.simulate --help`."""

import argparse
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from threading import Event

import structlog
from pydantic import ValidationError

from data.drifts import load_drifts
from data.statistics import has_figures
from data.traffic import Counts, Traffic, TrafficSettings
from monitoring.contract.config_file import load_config
from monitoring.contract.exit_status import CANNOT, PASSES, run_command
from monitoring.contract.layout import Layout
from monitoring.contract.logs import start_logging
from monitoring.contract.settings import Settings

__all__ = ["Counts", "Traffic", "TrafficSettings"]

log = structlog.get_logger(__name__)

_PROGRESS = 5.0  # seconds between progress lines
_PATIENCE = 60.0  # seconds in which an API that is about to start should have taken a row


class SimulatorSettings(Settings):
    """The environment's part of the simulator's settings."""

    api_url: str = "http://127.0.0.1:5050"
    api_key_file: Path | None = None


def _options() -> argparse.Namespace:
    drifts = "\n".join(f"  {name:<18} {drift.reads}" for name, drift in load_drifts().items())
    parser = argparse.ArgumentParser(
        prog="python -m data.simulate",
        description="Send traffic to the API as clients would, with labels that arrive later.",
        epilog=f"drifts:\n{drifts}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, field in TrafficSettings.model_fields.items():
        parser.add_argument(f"--{name.replace('_', '-')}", default=field.default, help=field.description)
    parser.add_argument("--drift", action="append", default=[], metavar="NAME", help="repeatable; see below")
    parser.add_argument("--drift-after", type=float, default=0.0, metavar="SECONDS", help="(default: from the start)")
    parser.add_argument("--strength", type=float, default=1.0, help="of the drifts; 0.5 is half (default: %(default)s)")
    environment = SimulatorSettings.read()
    parser.set_defaults(
        url=environment.api_url, api_key_file=environment.api_key_file, config=environment.driftloop_config
    )
    options = parser.parse_args()
    values = {name: getattr(options, name) for name in TrafficSettings.model_fields}
    try:
        options.settings = TrafficSettings.model_validate(values)
    except ValidationError as error:
        parser.error("; ".join(f"--{str(e['loc'][0]).replace('_', '-')}: {e['msg']}" for e in error.errors()))
    return options


def run(traffic: Traffic, options: argparse.Namespace, stopped: Event) -> None:
    """Send until the run ends or `stopped` is set, with a log line every few seconds."""
    traffic.set_drifts(options.drift, options.strength)  # here, so that a wrong name is told before anything is sent
    drifting = options.drift_after <= 0 or not options.drift
    if not drifting:
        traffic.set_drifts([])
    traffic.start()
    started = told = time.monotonic()
    while not traffic.wait(0.2) and not stopped.is_set():
        now = time.monotonic()
        if now - started >= _PATIENCE and not traffic.counts().acknowledged:
            log.error("nothing_acknowledged", url=options.settings.url, seconds=_PATIENCE)
            break
        if not drifting and now - started >= options.drift_after:
            traffic.set_drifts(options.drift, options.strength)
            drifting = True
            log.info("drift_started", drifts=options.drift, strength=options.strength)
        if now - told >= _PROGRESS:
            told = now
            log.info("traffic_progress", **asdict(traffic.counts()))
    traffic.stop()
    log.info("traffic_ended", **asdict(traffic.counts()))


def _with_rows(settings: TrafficSettings) -> TrafficSettings:
    """Return the settings with rows to send: of a model without figures those of the reference in DATA_DIR, if any."""
    reference = Layout(SimulatorSettings.read().data_dir).reference
    if settings.tracks is not None or has_figures(load_config(settings.config).model) or not reference.is_file():
        return settings
    log.info("rows_of_reference", path=str(reference))
    return settings.model_copy(update={"tracks": reference})


def main() -> int:
    """Send until told to stop or done; return CANNOT if no row was acknowledged."""
    return run_command(_send)


def _send() -> int:
    stopped = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    options = _options()
    start_logging("simulator")
    traffic = Traffic(_with_rows(options.settings))
    run(traffic, options, stopped)
    return PASSES if traffic.counts().acknowledged else CANNOT


if __name__ == "__main__":
    sys.exit(main())
