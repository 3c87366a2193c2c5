"""`python -m flows register` and `propose`: a model that somebody brings becomes champion, or is held against it."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flows.settings import FlowSettings
from flows.watched_models import watched_model
from monitoring.contract.exit_status import CANNOT, FAILS, PASSES
from monitoring.contract.times import parse_moment

if TYPE_CHECKING:
    from flows.proposal import Outcome

TOLERANCE = 1e-3  # as flows.training.export, which takes seconds to import
_EXITS = {"Promoted": PASSES, "Ready": PASSES, "NotPromoted": FAILS}
_ABOUT = (
    "A pickle (joblib, pkl) is loaded, and that runs the code in it: take none whose origin you do not trust. The "
    "converted model is asked for the reference's rows, and refused if an answer differs from the original's."
)


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add both commands to a parser's."""
    register = commands.add_parser(
        "register",
        help="make a model of your own champion, or hold it against the champion that there is",
        description="Convert a model to ONNX, measure it on the reference's labels, and make it champion of an empty "
        "registry. Where there is a champion, do as `propose`. Exit 0 if it is champion, 1 if the gate refused it, 2 "
        f"if it cannot be used. {_ABOUT}",
    )
    propose = commands.add_parser(
        "propose",
        help="put a model of your own before the gate, against the champion",
        description="Convert a model to ONNX, register it, and hold it against the champion on the labelled rows that "
        "a retraining would hold out. Exit 0 if it is promoted, 1 if the gate refused it, 2 if it cannot be used or "
        f"labels are too few. {_ABOUT}",
    )
    for command in (register, propose):
        command.add_argument(
            "--model",
            required=True,
            metavar="MODEL",
            help="path or URI: ONNX (.onnx), scikit-learn (.joblib, .pkl, .skops), LightGBM (.txt), XGBoost (.json, "
            ".ubj), CatBoost (.cbm), or what MLflow has logged (runs:/…, models:/…, a folder)",
        )
        command.add_argument(
            "--config", type=Path, metavar="FILE", help="the config.yml, instead of DRIFTLOOP_CONFIG's"
        )
        command.add_argument(
            "--of", metavar="NAME", help="which of many models; needed where DRIFTLOOP_CONFIG is a folder"
        )
        command.add_argument(
            "--tolerance",
            type=float,
            default=TOLERANCE,
            metavar="NUMBER",
            help="how far an answer of the converted model may be from the original's: of a probability, or of a "
            "regression a share of the labels' standard deviation (default %(default)g)",
        )
        command.add_argument(
            "--learned-through",
            type=parse_moment,
            metavar="TIME",
            help="the model has learned from logged rows up to this time, like 2026-11-01T08:00 (UTC): they do not "
            "judge it, nor do they judge a later model against it",
        )
        command.add_argument(
            "--pyfunc",
            action="store_true",
            help="serve what MLflow has logged as it is, by a process of its own that runs its code; slower than ONNX, "
            "and config.yml must allow it (model.pyfunc)",
        )
    register.add_argument(
        "--learned-from-reference",
        action="store_true",
        help="the model has learned from the reference's rows: promise no accuracy that was measured on them",
    )


def bring(options: argparse.Namespace) -> int:
    """Register or propose a model, and print what became of it; raise DriftloopError if it cannot be used."""
    settings = FlowSettings.read()
    if options.config is not None:
        settings = settings.model_copy(update={"driftloop_config": options.config})
    watched = watched_model(settings, options.of)
    config, layout = watched.config, watched.layout

    import mlflow  # noqa: PLC0415 - after the environment is set; it takes seconds, as those below do

    from flows.proposal import bring_forward  # noqa: PLC0415
    from flows.registration import prepare  # noqa: PLC0415
    from flows.registry.publication import sole_run  # noqa: PLC0415
    from flows.run_history import recorded  # noqa: PLC0415

    mlflow.set_tracking_uri(settings.mlflow_tracking_uri)
    with recorded(layout, options.command) as record:
        # before the lock: what it takes to load and convert a model of others is their own affair
        of = prepare(
            config,
            layout,
            options.model,
            _say,
            tolerance=options.tolerance,
            has_seen_reference=getattr(options, "learned_from_reference", False),
            learned_through=options.learned_through,
            pyfunc=options.pyfunc,
        )
        with sole_run(layout):
            outcome = bring_forward(of, record, _say, may_be_first=options.command == "register")
    return _conclude(outcome)


def _conclude(outcome: "Outcome") -> int:
    _say(f"{outcome.name}: {outcome.message}")
    return _EXITS.get(outcome.name, CANNOT)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
