"""`python -m scripts.fleet_demo`: unlike models in one stack; one drifts, and the others stay as they are.

With `--chaos` they do not: while the one drifts, the others lose config, labels and files, which is told of each by its
name, and holds up neither the drifting model nor any answer of the API.
"""

import argparse
import os
import shutil
import time
from collections.abc import Iterable, Mapping
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
DELETED = "flights_late"  # with --chaos one more, whose folder is deleted
SHARE = 3  # of the rows that are sent, the quiet models have one each for so many of the one that drifts


def run_fleet(folder: Path, log: Path, *, then: str | None, chaos: bool) -> None:
    """Run some models, close the loop of one, and see that nothing has happened to the others, or what was done."""
    set_paces()
    stack = Stack(folder / "data", folder / "state", ports_from_environment(), pace=PACE)
    configs = _lay_out(folder, stack, (DRIFTS, *QUIET, *([DELETED] if chaos else [])))
    os.environ["DRIFTLOOP_CONFIG"] = str(folder / "models")
    say_where(folder, stack)
    with running(stack, log) as process, ExitStack() as stopping:
        demos = {name: Demo(stack, config, process, "", of_many=True) for name, config in configs.items()}
        demo = demos[DRIFTS]
        demo.drift = EXAMPLES[DRIFTS].drift
        for name, other in demos.items():
            demo.hop(f"{name} served", other.ready, 480)
        others = {name: other for name, other in demos.items() if name != DRIFTS}
        former = {name: other.champion() for name, other in others.items()}
        traffics = {}
        for name, one in demos.items():
            rate = ROWS_A_SECOND if name == DRIFTS else ROWS_A_SECOND / SHARE
            traffics[name] = Traffic(_traffic(folder, name, one, rate))
            stopping.callback(traffics[name].stop)
        for name in others:
            traffics[name].start()
        harm = Harm(folder, demos, traffics) if chaos else None
        if harm is not None:
            harm.do()
        of_drifted = close_the_loop(demo, traffics[DRIFTS])
        if harm is not None:
            harm.see_told()
            harm.mend()
        else:
            for name, other in others.items():
                demo.hop(f"{name} quiet", lambda name=name, other=other: _quiet(other, former[name]), 300)  # type: ignore[misc]
        print(summary(demo, traffics[DRIFTS], of_drifted), flush=True)
        if then:
            run_then(stack, then)


def _lay_out(folder: Path, stack: Stack, examples: Iterable[str]) -> Mapping[str, Config]:
    """Write a folder of configs, and references; return the configs by the examples' names."""
    paths = {"genres": ROOT / "monitoring/config.yml"}
    paths |= {name: EXAMPLES[name].config for name in examples}
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


class Harm:
    """What is done to the models that do not drift, what is then told of them, and how it is put right.

    The built-in model's config becomes no YAML, the car loans' labels wrong and one file of them no Parquet, and the
    folder of the late flights goes, with reference, log and state.
    """

    def __init__(self, folder: Path, demos: Mapping[str, Demo], traffics: Mapping[str, Traffic]) -> None:
        self._demos, self._traffics, self._demo = demos, traffics, demos[DRIFTS]
        self._config, self._data = folder / "models/genres.yml", self._demo.stack.data
        self._text = self._config.read_text()

    def do(self) -> None:
        """Do it, once each of them has rows."""
        for name, traffic in self._traffics.items():
            if name != DRIFTS:
                self._demo.hop(f"{name} logged", lambda traffic=traffic: self._logged(traffic, 100), 60)  # type: ignore[misc]
        self._config.write_text("model: [")
        self._traffics["car_loans"].set_drifts(["wrong_labels"])
        car_loans, deleted = (self._data / self._name(name) for name in ("car_loans", DELETED))
        (car_loans / "labels.parquet/labels-0.parquet").write_bytes(b"no Parquet")
        self._reference = (deleted / "reference.parquet").read_bytes()
        shutil.rmtree(deleted, ignore_errors=True)

    def see_told(self) -> None:
        """See each told by its model's name, and all rows since acknowledged."""
        see = self._demo.hop
        see("genres' config", lambda: self._is("max(monitor_config_faulty) > 0", "faulty, as the page says"), 60)
        see("its alert", lambda: self._alerts("file", self._config.name), 60)
        see("genres watched on", lambda: self._watched("genres"), 60)
        see("car_loans' labels", self._labels_told, 180)
        see("its alert", lambda: self._alerts("model", self._name("car_loans")), 60)
        see(f"{DELETED} gone", self._deleted_told, 60)
        see("its alert", lambda: self._alerts("model", self._name(DELETED)), 60)
        for name, traffic in self._traffics.items():
            if name != DRIFTS:
                before = traffic.counts().acknowledged
                see(f"{name} answered", lambda t=traffic, b=before: self._logged(t, b + 40), 60)  # type: ignore[misc]

    def mend(self) -> None:
        """Put config and reference back, and see both models watched."""
        self._config.write_text(self._text)
        layout = self._demos[DELETED].layout
        Path(str(layout.root)).mkdir(exist_ok=True)
        Path(str(layout.reference)).write_bytes(self._reference)
        self._demo.hop("config mended", lambda: self._is("absent(monitor_config_faulty > 0)", "no file is faulty"), 60)
        self._demo.hop(f"{DELETED} mended", lambda: self._watched(DELETED), 180)

    def _logged(self, traffic: Traffic, rows: int) -> str | None:
        counts = traffic.counts()
        if counts.refused:
            raise HopError(f"{counts.refused} of {counts.sent} rows were refused")
        return f"{counts.acknowledged} rows acknowledged" if counts.acknowledged >= rows else None

    def _is(self, expression: str, told: str) -> str | None:
        return told if self._demo.query(expression) is not None else None

    def _alerts(self, label: str, value: str) -> str | None:
        alerts = self._demo.get("prometheus", "/api/v1/alerts")["data"]["alerts"]
        labels = [one["labels"] for one in alerts if one["state"] == "firing"]
        fire = {one["alertname"] for one in labels if one.get(label) == value}
        return ", ".join(sorted(fire)) or None

    def _name(self, name: str) -> str:
        return self._demos[name].config.model.name

    def _watched(self, name: str) -> str | None:
        demo = self._demos[name]
        last, rows = demo.value("monitor_last_success_timestamp_seconds"), demo.value("rowcount")
        return f"{rows:.0f} rows" if rows and last and time.time() - last < 15 else None  # noqa: PLR2004 - some cycles

    def _labels_told(self) -> str | None:
        demo = self._demos["car_loans"]
        fell = demo.value("accuracy_drop_detected")
        return "fewer are right, as its alarm says" if fell == 1 else None

    def _deleted_told(self) -> str | None:
        reason: str | None = self._demo.get("monitor", "/ready")["not_ready"].get(
            self._demos[DELETED].config.model.name
        )
        return reason


def main() -> None:
    """Run the demo in a temporary folder and remove it."""
    parser = argparse.ArgumentParser(description="Some models in one stack; one drifts, and is retrained alone.")
    parser.add_argument("--chaos", action="store_true", help="break the others meanwhile")
    parser.add_argument("--then", metavar="COMMAND", help="run this at the end, while the stack still runs")
    arguments = parser.parse_args()
    run_in_folder(lambda folder, log: run_fleet(folder, log, then=arguments.then, chaos=arguments.chaos))


if __name__ == "__main__":
    main()
