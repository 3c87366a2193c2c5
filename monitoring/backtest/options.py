"""The options of `python -m monitoring backtest`: apart from what they start, which takes seconds to import."""

import argparse
from datetime import timedelta
from pathlib import Path

from monitoring.contract.config import Config
from monitoring.contract.config_values import parse_duration
from monitoring.contract.times import parse_moment
from monitoring.suite.lean_evidently import leave_out_the_rest


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's options."""
    command = commands.add_parser("backtest", help="say when each alert would have fired on a recorded log")
    command.add_argument("--log", required=True, help="current.parquet, or any Parquet file or folder with its columns")
    command.add_argument("--reference", required=True, help="what to hold it against, a Parquet file or its URI")
    command.add_argument("--config", type=Path, help="default: DRIFTLOOP_CONFIG")
    command.add_argument("--labels", help="labels.parquet: labels that came later, each from its own time on")
    command.add_argument("--rules", nargs="+", type=Path, help="rule files of your own (default: the shipped ones)")
    command.add_argument("--every", type=_duration, help="how often to look, like 5m (default: about 300 times)")
    command.add_argument(
        "--from", dest="begin", type=parse_moment, help="leave out earlier rows, like 2026-11-01T08:00 (UTC)"
    )
    command.add_argument("--to", dest="end", type=parse_moment, help="leave out later rows")
    command.add_argument(
        "--whole-log", action="store_true", help="also rows up to the newest that the reference was taken from"
    )
    command.add_argument(
        "--skip-unreadable", action="store_true", help="go on without files that cannot be read, and name them"
    )
    command.add_argument(
        "--allow-missing-columns", action="store_true", help="a column that is not there counts as missing values"
    )
    command.add_argument("--openmetrics", type=Path, metavar="FILE", help="write the metrics for promtool to import")
    command.add_argument("--instance", default="monitor:8000", help="their label `instance` (default: %(default)s)")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the findings for machines")
    command.add_argument("--prometheus-bin", type=Path, metavar="DIR", help="where prometheus and promtool are")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace, config: Config) -> int:
    leave_out_the_rest()
    from monitoring.backtest.backtest import run  # noqa: PLC0415 - Evidently takes seconds; the other commands need none

    return run(options, config)


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
