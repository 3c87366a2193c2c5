"""`python -m monitoring backtest`: when each alert rule and the drift detector would have fired on a recorded log.

A look at the past is the monitor's own, row for row; the rules are asked of a real Prometheus, which is started for it.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from threadpoolctl import threadpool_limits

from monitoring.backtest.alert_rules import SHIPPED, AlertRule, read_alerts
from monitoring.backtest.detector_replay import PastDetector, calibrate_for, populations_for
from monitoring.backtest.log_rows import open_labels, open_log, rate_of
from monitoring.backtest.openmetrics import Spool
from monitoring.backtest.prometheus import Binaries, ask_alerts, check_rules, find_binaries
from monitoring.backtest.replay import Past, choose_step, moments_of, replay
from monitoring.backtest.report import Backtest, LabelsMet, as_json, as_text
from monitoring.backtest.windows import PastLabels
from monitoring.contract.config import Config
from monitoring.contract.times import Micros
from monitoring.contract.values import narrowed
from monitoring.offline.commands import load_reference, write_whole
from monitoring.offline.dataset import demands_of, stored_types
from monitoring.offline.unknown_categories import told

NO_PROMETHEUS = """\
The rules were not evaluated: that takes prometheus and promtool, and neither PATH nor .local/tools/bin has them.
`make setup` fetches them; --prometheus-bin DIR says where else they are."""
BEFORE_1970 = "The rules were not evaluated: Prometheus knows no time before 1970. --from leaves earlier rows out."


def run(options: argparse.Namespace, config: Config) -> int:
    """Replay the log and print what would have fired."""
    with threadpool_limits(1, user_api="blas"):  # small matrices: threads that wait on each other cost fourfold
        return _run(options, config)


def _run(options: argparse.Namespace, config: Config) -> int:
    binaries = find_binaries(options.prometheus_bin)
    paths = options.rules or sorted(SHIPPED.glob("*_alerts.yml"))
    alerts = read_alerts(paths)
    if binaries is not None:
        check_rules(binaries, paths)
    reference = load_reference(options.reference, config)
    after = None if options.whole_log else reference.through
    skip = options.skip_unreadable
    demands = demands_of(config.model, skip_unreadable=skip, missing_columns=options.allow_missing_columns)
    if options.labels:
        demands = replace(demands, required=(*demands.required, "prediction_id"))
    log = open_log(options.log, config.model, _later(options.begin, after), options.end, demands)
    late = open_labels(options.labels, config.model, skip_unreadable=skip) if options.labels else None
    labels = PastLabels(late, config.model)
    rate = rate_of(log, config.minimum_rows)
    populations = populations_for(config.model)
    types = stored_types(options.log, config.model)
    reference = replace(reference, table=narrowed(reference.table, types))
    calibration = calibrate_for(reference, config, _progress("calibrating the drift detector"), populations)
    detector = PastDetector(
        reference, config.model, calibration, calibration.support(config.false_alarm_rows(rate), rate)
    )
    past = Past(log, labels, config, reference, detector)
    with tempfile.TemporaryDirectory(prefix="backtest-") as folder:
        found = backtest(past, alerts, options, Path(folder), binaries)
    found = replace(
        found,
        populations=populations,
        unknown=told(config.model, config.model.prediction, detector.unknown),
        unread=tuple(str(one) for one in (*log.left_out, *(late.left_out if late else ()))),
        labels=LabelsMet(labels.taken, labels.met) if late else None,
    )
    sys.stdout.write(as_text(found))
    if found.outcomes is None:
        sys.stderr.write(f"{NO_PROMETHEUS if binaries is None else BEFORE_1970}\n")
    if options.json:
        write_whole(options.json, json.dumps(as_json(found), indent=1).encode())
    return 0


def backtest(
    past: Past, alerts: tuple[AlertRule, ...], options: argparse.Namespace, folder: Path, binaries: Binaries | None
) -> Backtest:
    """Replay a log in a folder for temporary files, and let Prometheus say when the alerts would have fired."""
    step = options.every or choose_step(past.log, len(past.config.model.features))
    moments = moments_of(past.log, step)
    (folder / "families").mkdir()
    spool = Spool(folder / "families", {"job": "monitor", "instance": options.instance})
    with contextlib.closing(spool):
        rows = replay(past, moments, spool, _progress(f"replaying, {len(moments):,} looks each {step}"))
        if options.openmetrics:
            spool.write(options.openmetrics)
        outcomes = ask_alerts(binaries, alerts, spool, moments, folder) if binaries and moments[0] >= 0 else None
    seconds = step.total_seconds()
    drift = past.detector
    asked = {outcome.alert for outcome in outcomes or ()}
    left_out = () if outcomes is None else tuple(alert.name for alert in alerts if alert not in asked)
    return Backtest(
        past.log.first,
        past.log.last,
        rows,
        len(moments),
        seconds,
        outcomes,
        tuple(drift.alarms),
        tuple(drift.restarted.alarms),
        drift.support,
        left_out,
    )


def _later(one: Micros | None, other: Micros | None) -> Micros | None:
    """Return the later of two times after which rows count; the first is that of the first row."""
    times = [time for time in (None if one is None else Micros(one - 1), other) if time is not None]
    return max(times, default=None)


def _progress(what: str) -> Callable[[float], None]:
    """Return a function that shows on standard error how far something is."""
    told = -1

    def tell(share: float) -> None:
        nonlocal told
        percent = int(100 * share)
        if percent == told:
            return
        told = percent
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{what}: {percent:3} %" + ("\n" if share >= 1 else ""))
        elif percent % 25 == 0:
            sys.stderr.write(f"{what}: {percent} %\n")
        sys.stderr.flush()

    return tell
