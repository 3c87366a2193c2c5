"""`python -m monitoring check-config`: whether configs are sound, and what the drift alarm can promise."""

import argparse
import re
import shutil
import sys
from collections.abc import Iterator
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

from monitoring.alarms.drift.calibration import supported_rows
from monitoring.alarms.drift.drift_watch import thinned
from monitoring.alarms.drift.learning import learning_until
from monitoring.alarms.drift.rhythm import SECONDS, amount, duration, find_rhythm
from monitoring.alarms.drift.support import EXTRAPOLATED, Support
from monitoring.alarms.drift.vocabulary import rows_of
from monitoring.contract.config import Config, Model, Retrain
from monitoring.contract.config_file import load_configs
from monitoring.contract.errors import ConfigError
from monitoring.contract.exit_status import PASSES
from monitoring.contract.kinds import KINDS
from monitoring.contract.layout import Layout
from monitoring.contract.reference import InvalidReferenceError, Reference, read_reference
from monitoring.contract.rhythm_rows import read_rhythm_rows
from monitoring.contract.times import from_microseconds
from monitoring.offline.balance import advise
from monitoring.offline.commands import load_reference
from monitoring.offline.log_check import describe_log
from monitoring.offline.reference_advice import advise_of_reference


def add_check(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's options."""
    check = commands.add_parser("check-config", help="check config.yml, and say what the drift alarm can promise")
    check.add_argument("--config", type=Path, help="the file, or a folder of them; default: DRIFTLOOP_CONFIG")
    check.add_argument("--reference", help="a Parquet file or its URI; default: the one in DATA_DIR, if it is there")
    check.set_defaults(run=check_config, run_folder=check_configs)


def check_config(options: argparse.Namespace, config: Config) -> int:
    """Say that the config is sound, and what the drift alarm can promise with the reference, if there is one."""
    sys.stdout.write(f"{options.config}: {_summary(config.model)}, no error\n")
    sys.stdout.writelines(f"{line}\n" for line in _absent_trainer(config.retrain))
    layout = Layout(options.settings.data_dir)
    path = layout.reference
    if options.reference:
        reference = load_reference(options.reference, config, predicted=False)
        lines = describe(options.reference, reference, config, layout)
    elif not path.exists():
        lines = iter([f"{path}: not there yet, so what the drift alarm can promise is not known"])
    else:
        try:
            lines = describe(str(path), read_reference(layout, config.model, predicted=False), config, layout)
        except InvalidReferenceError as error:  # another model's, perhaps: the config is sound all the same
            lines = iter([str(error)])
    sys.stdout.writelines(f"{line}\n" for line in lines)
    if options.settings.prediction_log is not None:
        sys.stdout.writelines(f"{line}\n" for line in describe_log(options.settings.layout(config.model), config.model))
    return PASSES


def check_configs(options: argparse.Namespace) -> int:
    """Check each config file of a folder, with the reference in the model's own folder under DATA_DIR.

    Raise ConfigError, after all that is sound is told, with all that is not.
    """
    if options.reference:
        raise ConfigError("--reference: is one model's; it takes one config file, no folder of them")
    configs = load_configs(options.config)
    if not configs:
        raise ConfigError(f"{options.config}: holds no *.yml or *.yaml")
    for path, config in configs.items():
        if isinstance(config, Config):
            settings = options.settings.of_model(config.model.name)
            check_config(argparse.Namespace(config=path, settings=settings, reference=None), config)
    if faulty := [str(config) for config in configs.values() if isinstance(config, ConfigError)]:
        raise ConfigError("\n".join([*faulty, f"{len(faulty)} of {len(configs)} config files cannot be used"]))
    return PASSES


def _absent_trainer(retrain: Retrain) -> Iterator[str]:
    """Say whether the user's trainer is not where this command runs; its code is not run."""
    if retrain.command is not None and shutil.which(retrain.command[0]) is None:
        yield f"retrain.command: there is no program {retrain.command[0]} here; the flows need it where they run"
    if retrain.trainer is not None and find_spec(package := re.split(r"[.:]", retrain.trainer)[0]) is None:
        yield f"retrain.trainer: there is no package {package} here; the flows need it on their PYTHONPATH"


def _summary(model: Model) -> str:
    """Say of what kinds the features are, and what the model answers."""
    kinds = {kind: len(model.of_kind(kind)) for kind in KINDS}
    counted = [f"{number} {kind}" for kind, number in kinds.items() if number]
    of = f" ({', '.join(counted)})" if kinds["categorical"] else ""
    answers = f"{len(model.categories)} categories" if model.categories else f"a {model.task}"
    return f"{len(model.features)} features{of}, {answers}"


def describe(source: str, reference: Reference, config: Config, layout: Layout) -> Iterator[str]:
    """Yield lines on what the drift alarm promises with a reference, what supports that, in which rhythm, and advice.

    A reference that was re-based has its rhythm rows in the layout.
    """
    rows, categories = rows_of(reference.table, config.model), len(config.model.categories)
    found = read_rhythm_rows(layout, config.model, reference.digest)
    earlier = rows_of(found.table, config.model) if found else None
    rhythm = find_rhythm(thinned(rows), categories, config.rhythm, config.timezone, earlier)
    vouching = found.each * len(found.table) if found and rhythm.earlier else len(rows)
    seconds = 0.0 if rows.times is None else float(rows.times.max() - rows.times.min()) / 1e6
    rate = len(rows) / seconds if seconds else 0.0
    spans = f" in {duration(seconds)}" if seconds else ""
    yield f"{source}: {len(rows):,} rows{spans}. The drift alarm with it:"
    support = Support(config.false_alarm_rows(rate), supported_rows(rhythm, vouching, rate=rate), rate, rhythm)
    every = config.false_alarm_every
    if rate or not isinstance(every, timedelta):
        yield f"  promised: {support.promised_said}"
        yield f"  supported: {support.supported_said}"
    else:  # a duration is no number of rows yet
        days = every.total_seconds() / SECONDS["days"]
        yield f"  promised: on average at most one false alarm in {duration(every.total_seconds())}"
        yield f"  supported: {support.supported:,.0f} rows without change, {support.source}."
        most = amount(support.supported / days)
        yield f"    They cover the promise up to {most} rows a day; with more it is {EXTRAPOLATED}."
    yield f"  rhythm: {support.rhythm_said}"
    if until := learning_until(reference, thinned(rows), earlier, config):
        moment = f"{from_microseconds(until):%Y-%m-%d %H:%M} UTC"
        yield f"  learning: the reference is short, so rows of the log join it until {moment}; only then it tests"
    yield from advise_of_reference(reference, config)
    yield from advise(reference, config)
