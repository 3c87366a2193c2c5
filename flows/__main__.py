"""The flows' commands: `python -m flows serve`, `rollback`, `check-model`, `register` and `propose`."""

import argparse
import logging
import os
import sys

import structlog

from flows.check_model import add_command, check_model
from flows.register import add_commands, bring
from flows.run_request import request_run
from flows.settings import FlowSettings
from monitoring.contract.errors import DriftloopError
from monitoring.contract.exit_status import CANNOT, PASSES, run_command
from monitoring.contract.logs import start_logging

_QUIET = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",  # its lines go through the root logger, as JSON
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",  # the model needs onnxruntime, not this project's lock file
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="make what is missing, then serve the flows")
    back = commands.add_parser("rollback", help="go back to the version that served before, and to its reference")
    back.add_argument("--of", metavar="NAME", help="which of many models; needed where DRIFTLOOP_CONFIG is a folder")
    add_command(commands)
    add_commands(commands)
    options = parser.parse_args(arguments)
    if options.command == "check-model":
        return run_command(lambda: check_model(options))
    if options.command in ("register", "propose"):
        return run_command(lambda: _bring(options))
    return run_command((lambda: _rollback(options.of)) if options.command == "rollback" else _serve)


def _rollback(model: str | None) -> int:
    """Print the outcome of a rollback; return PASSES if there was one, CANNOT if not."""
    run = request_run("rollback", FlowSettings.read(), print, model)
    return PASSES if run.state_name == "RolledBack" else CANNOT


def _bring(options: argparse.Namespace) -> int:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    os.environ.update(FlowSettings.read().client_environment())
    return bring(options)


def _serve() -> int:
    start_logging("flows")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line per request to Prefect
    log = structlog.get_logger(__name__)
    try:
        settings = FlowSettings.read()
        # Prefect and MLflow read the environment when they are imported, and the runs' processes inherit it.
        os.environ.update(settings.client_environment())
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        from flows.serving import serve  # noqa: PLC0415 - after the environment is set

        serve(settings)
    except DriftloopError as error:
        log.error("flows_stopped", reason=str(error))  # noqa: TRY400 - the reason is meant for a person
        return CANNOT
    return PASSES


if __name__ == "__main__":
    sys.exit(main())
