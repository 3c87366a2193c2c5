"""`python -m monitoring run` watches the model; `profile`, `report` and `backtest` look at data sets and the past."""

import argparse
import sys

from monitoring.backtest.options import add_command
from monitoring.batch.gate import add_gate
from monitoring.batch.ingest import add_ingest
from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.exit_status import CANNOT, PASSES, run_command
from monitoring.offline.commands import add_commands
from monitoring.offline.config_check import add_check
from monitoring.offline.suggested_tests import add_suggestions
from monitoring.settings import MonitorSettings

CANNOT_START = CANNOT
STATUSES = """\
exit status: 0 all passes, 1 a test fails or rows are refused, 2 the command cannot do its work,
3 tests are skipped and --require-all"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m monitoring", description=__doc__, epilog=STATUSES)
    parser.set_defaults(run_folder=None)  # a command that takes a folder of configs too
    commands = parser.add_subparsers(dest="command", required=True)
    watch = commands.add_parser("run", help="watch the model, or a folder's models, until told to stop")
    watch.set_defaults(run=_watch, run_folder=_watch_folder, config=None)
    add_check(commands)
    add_suggestions(commands)
    add_commands(commands)
    add_command(commands)
    add_ingest(commands)
    add_gate(commands)
    options = parser.parse_args(arguments)
    return run_command(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    options.settings = MonitorSettings.read()
    options.config = options.config or options.settings.driftloop_config
    if options.run_folder is not None and options.config.is_dir():
        code: int = options.run_folder(options)
    else:
        code = options.run(options, load_config(options.config))
    sys.stdout.flush()
    return code


def _watch(options: argparse.Namespace, config: Config) -> int:
    from monitoring.serve import serve  # noqa: PLC0415 - the other commands need no server

    serve(config, options.settings)
    return PASSES


def _watch_folder(options: argparse.Namespace) -> int:
    from monitoring.serve import serve_folder  # noqa: PLC0415 - as above

    serve_folder(options.config, options.settings)
    return PASSES


if __name__ == "__main__":
    sys.exit(main())
