"""`python -m monitoring run` watches the model; `profile`, `report` and `backtest` look at data sets and the past."""

import argparse
import sys

from monitoring.backtest.options import add_command
from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.errors import DriftloopError
from monitoring.offline.commands import add_commands
from monitoring.settings import MonitorSettings

CANNOT_START = 2


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return 2 when the configuration or what the command was given cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m monitoring", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="watch the model until told to stop").set_defaults(run=_watch, config=None)
    commands.add_parser("check-config", help="check config.yml").set_defaults(run=_check, config=None)
    add_commands(commands)
    add_command(commands)
    options = parser.parse_args(arguments)
    try:
        options.settings = MonitorSettings.read()
        options.config = options.config or options.settings.driftloop_config
        code: int = options.run(options, load_config(options.config))
    except DriftloopError as error:
        sys.stderr.write(f"{error}\n")
        return CANNOT_START
    return code


def _watch(options: argparse.Namespace, config: Config) -> int:
    from monitoring.serve import serve  # noqa: PLC0415 - the other commands need no server

    serve(config, options.settings)
    return 0


def _check(options: argparse.Namespace, config: Config) -> int:
    features, categories = len(config.model.features), len(config.model.categories)
    sys.stdout.write(f"{options.config}: {features} features, {categories} categories, no error\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
