"""`python -m monitoring run` watches the model; `python -m monitoring check-config` checks config.yml."""

import argparse
import sys

from monitoring.schema import ConfigError, load_config
from monitoring.settings import MonitorSettings

CANNOT_START = 2


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return 2 when the configuration cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m monitoring", description=__doc__)
    parser.add_argument("command", choices=["run", "check-config"])
    command = parser.parse_args(arguments).command
    try:
        settings = MonitorSettings.read()
        config = load_config(settings.driftloop_config)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return CANNOT_START
    if command == "check-config":
        features, categories = len(config.model.features), len(config.model.categories)
        sys.stdout.write(f"{settings.driftloop_config}: {features} features, {categories} categories, no error\n")
        return 0
    from monitoring.serve import serve  # noqa: PLC0415 - checking a config needs no server

    serve(config, settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
