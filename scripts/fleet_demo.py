"""`python -m scripts.fleet_demo`: three unlike models in one stack; one drifts, and the others stay as they are."""

import argparse
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from data.simulate import Traffic, TrafficSettings
from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.layout import Layout
from monitoring.contract.plain_files import make_folder
from scripts.demo import (
    EXAMPLES,
    JITTER,
    PACE,
    ROWS_A_SECOND,
    Demo,
    HopError,
    close_the_loop,
    run_in_folder,
    run_then,
    running,
    say_where,
    set_paces,
    summary,
)
from scripts.stack import ROOT, Stack, ports_from_environment

DRIFTS = "flights"  # the example whose rows drift
QUIET = ("car_loans",)  # examples whose rows do not; beside them the built-in model
SHARE = 3  # of the rows that are sent, the quiet models have one each for so many of the one that drifts


def run_fleet(folder: Path, log: Path, then: str | None) -> None:
    """Run three models, close the loop of one, and see that nothing has happened to the others."""
    set_paces()
    stack = Stack(folder / "data", folder / "state", ports_from_environment(), pace=PACE)
    configs = _lay_out(folder, stack)
    os.environ["DRIFTLOOP_CONFIG"] = str(folder / "models")
    say_where(folder, stack)
    with running(stack, log) as process, ExitStack() as stopping:
        demos = {name: Demo(stack, config, process, "", of_many=True) for name, config in configs.items()}
        demo = demos[DRIFTS]
        demo.drift = EXAMPLES[DRIFTS].drift
        for name, other in demos.items():
            demo.hop(f"{name} served", other.ready, 240)
        others = {name: other for name, other in demos.items() if name != DRIFTS}
        former = {name: other.champion() for name, other in others.items()}
        for name, other in others.items():
            traffic = Traffic(_traffic(folder, name, other, ROWS_A_SECOND / SHARE))
            stopping.callback(traffic.stop)
            traffic.start()
        traffic = Traffic(_traffic(folder, DRIFTS, demo, ROWS_A_SECOND))
        stopping.callback(traffic.stop)
        of_drifted = close_the_loop(demo, traffic)
        for name, other in others.items():
            demo.hop(f"{name} quiet", lambda name=name, other=other: _quiet(other, former[name]), 300)  # type: ignore[misc]
        print(summary(demo, traffic, of_drifted), flush=True)
        if then:
            run_then(stack, then)


def _lay_out(folder: Path, stack: Stack) -> Mapping[str, Config]:
    """Write a folder of configs, and references; return the configs by the examples' names."""
    paths = {"genres": ROOT / "monitoring/config.yml"}
    paths |= {name: EXAMPLES[name].config for name in (DRIFTS, *QUIET)}
    make_folder(folder / "models")
    configs = {name: load_config(path) for name, path in paths.items()}
    for name, path in paths.items():
        shutil.copy(path, folder / "models" / f"{name}.yml")
        if name in EXAMPLES:
            home = stack.data / configs[name].model.name
            make_folder(home)
            EXAMPLES[name].write(Layout(home).reference, folder / f"{name}.parquet")
    return configs


def _traffic(folder: Path, name: str, demo: Demo, rate: float) -> TrafficSettings:
    rows = folder / f"{name}.parquet"
    return TrafficSettings(
        url=demo.stack.url("api") + demo.path,
        rate=rate,
        tracks=rows if rows.exists() else None,
        in_order=rows.exists(),
        jitter=JITTER,
        batch=5,
        label_delay=2,
        config=folder / "models" / f"{name}.yml",
    )


def _quiet(demo: Demo, former: str) -> str | None:
    """See a model judged, without drift, with the champion that it had and no alert that asks for a retraining."""
    rows, detected = demo.value("rowcount"), demo.value("drift_detected")
    if (version := demo.champion()) != former:
        raise HopError(f"{demo.config.model.name}: version {former} gave way to {version}, and nothing had drifted")
    if alert := demo.alert("firing") or demo.alert("pending"):
        raise HopError(f"{demo.config.model.name}: {alert}, and nothing had drifted")
    return None if rows is None or detected != 0 else f"version {version} as before, {rows:.0f} rows, no drift"


def main() -> None:
    """Run the demo in a temporary folder and remove it."""
    parser = argparse.ArgumentParser(description="Three models in one stack; one drifts, and is retrained alone.")
    parser.add_argument("--then", metavar="COMMAND", help="run this at the end, while the stack still runs")
    arguments = parser.parse_args()
    run_in_folder(lambda folder, log: run_fleet(folder, log, arguments.then))


if __name__ == "__main__":
    main()
