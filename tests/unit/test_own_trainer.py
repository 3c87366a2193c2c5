"""A trainer of the user's: what it is given, what becomes of what it leaves, and how it fails."""

import contextlib
import os
import resource
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest

from flows.training.bounded_process import LAST_LINES, LINES, run_bounded
from flows.training.candidate import make_candidate, rebased
from flows.training.errors import ModelError
from flows.training.export import export_onnx
from flows.training.held_out import split_rows
from flows.training.own_trainer import OwnTrained, OwnTrainer, TrainerError, given_rows
from flows.training.pipeline import train
from flows.training.sample import sample_of
from flows.training.trained import Lesson
from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.errors import ConfigError
from monitoring.contract.onnx.model import load_onnx
from tests.processes import eventually, process
from tests.unit.flows_fixtures import draw_wine
from tests.unit.models import write_config

USERS = "tests.unit.users_trainers"


class Trials:
    """Trainers written to a folder, and run as a retraining runs them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []

    def config(self, **retrain: Any) -> Config:
        return load_config(write_config(self.folder, **retrain))

    def function(self, name: str, **limits: Any) -> OwnTrainer:
        return self.trainer(trainer=f"{USERS}:{name}", limits=limits)

    def command(self, *words: str, **limits: Any) -> OwnTrainer:
        return self.trainer(command=list(words), limits=limits)

    def trainer(self, **retrain: Any) -> OwnTrainer:
        return OwnTrainer(self.config(**retrain), self.folder / "wine.yml", self.said.append)


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trials:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return Trials(tmp_path)


def lesson(config: Config) -> Lesson:
    return Lesson(draw_wine(200, shift=6.0, seed=1), draw_wine(100), config.model, 1)


def left_over(folder: Path) -> list[str]:
    """Return the working folders in a folder, and the processes that know of one."""
    found = [path.name for path in folder.glob("driftloop-trainer-*")]
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if f"TRAINER_OUTPUT={folder}".encode() in (entry / "environ").read_bytes():
                found.append((entry / "comm").read_text())
    return found


def memory() -> int:
    """Return the bytes that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.timeout(600)
def test_a_function_trains_a_candidate_that_goes_through_the_gate(trials: Trials) -> None:
    """It sees the rows that are not held out; the reference is predicted by models that have not seen its rows."""
    trainer, config = trials.function("train"), trials.config()
    reference = draw_wine(200)
    exported = export_onnx(train(sample_of(reference, config.model)), config.model)
    champion = load_onnx(exported.SerializeToString(), config.model)
    rows = draw_wine(400, shift=6.0, seed=5)
    candidate = make_candidate(rows, reference, champion, config, seed=1, trainer=trainer)
    assert candidate.comparison.passed
    assert candidate.comparison.gain > 0.25
    assert candidate.classes == ("red", "white")
    assert candidate.parameters(400, 0.3)["trainer"] == f"{USERS}:train"
    assert "export_difference" not in candidate.metrics()  # nothing was measured here
    assert trials.said[0].startswith("280 rows 200 of the reference acidity sugar alcohol density truth in /")
    assert trials.said[1].startswith("converted from Pipeline; the largest difference on 280 rows is ")
    table, performance = rebased(rows, candidate, config.model)
    assert np.mean(np.array(table["guess"].to_pylist()) == np.array(table["truth"].to_pylist())) > 0.9
    assert performance.calibration is not None
    assert sum(line.startswith("320 rows") for line in trials.said) == 5
    assert left_over(trials.folder) == []


def test_numbers_are_given_as_the_log_has_them(trials: Trials) -> None:
    """A model of float64 would else be trained on other numbers than it is asked for."""
    rows = draw_wine(20)
    exact = [1 / (n + 3) for n in range(20)]
    place = rows.column_names.index("sugar")
    given = given_rows(rows.set_column(place, "sugar", pa.array(exact, pa.float64())), trials.config().model)
    assert sorted(given["sugar"].to_pylist()) == sorted(exact)


def test_a_failure_says_which_of_the_trainings_it_was(trials: Trials) -> None:
    """The candidate has passed the gate by then, and its version says so."""
    config = trials.config()
    trained = OwnTrained(trials.command("false"), lesson(config), onnx.ModelProto())
    with pytest.raises(TrainerError, match=r"^in training 2 of 6, for the reference: false ended with status 1"):
        trained.out_of_fold(draw_wine(100), 1, None)


COMMAND = """
import os, pandas as pd, joblib
from sklearn.linear_model import LogisticRegression
rows = pd.read_parquet(os.environ["TRAINER_ROWS"])
columns = ["acidity", "sugar", "alcohol", "density"]
model = LogisticRegression().fit(rows[columns], rows["truth"])
secrets = [os.environ.get(name) for name in ("PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_PASSWORD")]
print(os.environ["DRIFTLOOP_CONFIG"], *secrets)
joblib.dump(model, os.path.join(os.environ["TRAINER_OUTPUT"], "model.joblib"))
"""


def test_a_command_leaves_an_estimator(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its script is found from where the flows were started, and our password is not handed on."""
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "driftloop:secret")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    monkeypatch.chdir(trials.folder)
    (trials.folder / "train.py").write_text(COMMAND)
    trainer = trials.command(sys.executable, "train.py")
    found = trainer.train(lesson(trials.config()))
    assert load_onnx(found.exported.SerializeToString(), trials.config().model).classes == ("red", "white")
    assert trials.said[0] == f"{trials.folder}/wine.yml None None"
    assert found.name == f"a model by {sys.executable} train.py"


def test_an_onnx_model_is_taken_as_it_is(trials: Trials) -> None:
    """As bytes or as a ModelProto."""
    trainer = trials.function("returns_onnx")
    assert trainer.train(lesson(trials.config())).exported.graph.input[0].name == "X"


FAILURES = {
    "raises": "ended with status 1; its last line is: ValueError: no licence",
    "lacks_a_package": "No module named 'there_is_none'",
    "is_not_there": "has no function is_not_there",
    "exits": r"ended with status 0 and left no model: model\.onnx or model\.joblib is to lie",
    "returns_nothing": "what it returned: it holds a NoneType, .*A trainer returns a fitted scikit-learn estimator",
    "returns_a_class": "that is no scikit-learn estimator",
    "does_not_fit": "the LogisticRegression is not fitted",
    "has_another_column": "it has learned from extra, which the config does not name",
    "lacks_a_feature": "it has not learned from alcohol",
    "has_other_classes": "its classes are 0, 1",
    "is_a_regression": "a LinearRegression is no classifier",
    "cannot_be_converted": "cannot be converted to ONNX: ",
    "returns_rubbish": "has left a model that cannot be used: the file is not a readable ONNX model",
    "needs_every_value": "the original has no answer for the training's rows: ValueError: Input X contains NaN",
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_trainer_that_fails_says_what_would_have_to_be_different(trials: Trials, name: str) -> None:
    """The run ends as a failure by this sentence, and nothing of the trainer is left."""
    rows = draw_wine(200, shift=6.0, seed=1)
    rows = rows.set_column(1, "sugar", pa.array([None, *rows["sugar"].to_pylist()[1:]], pa.float32()))
    given = replace(lesson(trials.config()), rows=rows)
    with pytest.raises(TrainerError, match=f"{USERS}:{name} .*{FAILURES[name]}"):
        trials.function(name).train(given)
    assert left_over(trials.folder) == []


def test_a_module_that_is_not_there_is_told(trials: Trials) -> None:
    """With where it was looked for."""
    with pytest.raises(TrainerError, match="there is no module not_there: put its folder into PYTHONPATH"):
        trials.trainer(trainer="not_there.at_all:train").train(lesson(trials.config()))


def test_a_model_without_an_answer_for_collected_rows_is_no_candidate(trials: Trials) -> None:
    """One that it was not given lacks a value: it is refused before anything is compared, with the feature."""
    config, reference = trials.config(), draw_wine(200)
    exported = export_onnx(train(sample_of(reference, config.model)), config.model)
    champion = load_onnx(exported.SerializeToString(), config.model)
    rows = draw_wine(400, seed=5)
    place = int(split_rows(sample_of(rows, config.model), 0.3, 1).held[0])
    sugar = rows["sugar"].to_pylist()
    sugar[place] = None
    rows = rows.set_column(1, "sugar", pa.array(sugar, pa.float32()))
    reason = "needs_every_value, cannot be used: it has no answer for 1 of 400 rows .*it needs a value of sugar"
    with pytest.raises(ModelError, match=reason):
        make_candidate(rows, reference, champion, config, seed=1, trainer=trials.function("needs_every_value"))


def test_features_in_another_order_are_put_right(trials: Trials) -> None:
    """They have names, by which the model is asked."""
    found = trials.function("has_another_order").train(lesson(trials.config()))
    assert load_onnx(found.exported.SerializeToString(), trials.config().model).features == tuple(
        trials.config().model.features
    )


def test_a_pickle_that_is_no_model_is_told(trials: Trials) -> None:
    """Whatever a joblib file holds, or is."""
    code = "import joblib, os; joblib.dump({'a': 1}, os.environ['TRAINER_OUTPUT'] + '/model.joblib')"
    with pytest.raises(TrainerError, match="it holds a dict, and that is no scikit-learn estimator"):
        trials.command(sys.executable, "-c", code).train(lesson(trials.config()))
    code = "import os; open(os.environ['TRAINER_OUTPUT'] + '/model.joblib', 'w').write('no pickle')"
    with pytest.raises(TrainerError, match=r"model\.joblib cannot be read"):
        trials.command(sys.executable, "-c", code).train(lesson(trials.config()))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        pytest.param(["no-such-program"], "no-such-program: cannot be started: No such file", id="no program"),
        pytest.param(["sh", "-c", "exit 3"], "ended with status 3", id="status"),
        pytest.param(["true"], "nothing lies there", id="no model"),
        pytest.param(["sh", "-c", "touch $TRAINER_OUTPUT/model.pt"], r"model\.pt lies there", id="another format"),
        pytest.param(["sh", "-c", "ln -s /dev/zero $TRAINER_OUTPUT/model.onnx"], "is a device", id="a device"),
        pytest.param(["sh", "-c", "mkfifo $TRAINER_OUTPUT/model.onnx"], "is a FIFO", id="a FIFO"),
        pytest.param(["sh", "-c", "truncate -s 9G $TRAINER_OUTPUT/model.onnx"], "MB large", id="far too large"),
        pytest.param(["sh", "-c", "kill -SEGV $$"], "was ended by SIGSEGV", id="signal"),
    ],
)
def test_a_command_that_leaves_no_model_is_told(trials: Trials, words: list[str], reason: str) -> None:
    """By what it has left, or how it has ended."""
    with pytest.raises(TrainerError, match=reason):
        trials.command(*words).train(lesson(trials.config()))
    assert left_over(trials.folder) == []


SLEEPS: dict[str, str] = {
    "sleeps": "sleep 1000",
    "ignores SIGTERM": "trap '' TERM; sleep 1000",
    "forks": "sleep 1000 & sleep 1000 & wait",
    "leaves its group": "setsid sleep 1000 & wait",
    "leaves a process behind": "setsid sleep 1000 >/dev/null 2>&1 & sleep 1; touch $TRAINER_OUTPUT/other",
}


@pytest.mark.parametrize("name", SLEEPS)
def test_nothing_of_a_trainer_outlives_it(trials: Trials, name: str) -> None:
    """What sleeps for ever is ended after its time, with all that it has started."""
    begun = time.monotonic()
    reason = (
        "left no model" if name == "leaves a process behind" else r"had not ended within 2 s, and was ended.*limits"
    )
    with pytest.raises(TrainerError, match=reason):
        trials.command("sh", "-c", SLEEPS[name], time="2s").train(lesson(trials.config()))
    assert time.monotonic() - begun < 30
    assert left_over(trials.folder) == []


def test_the_time_is_that_of_all_trainings_together(trials: Trials) -> None:
    """A second training has what the first has left."""
    trainer = trials.command("sh", "-c", "sleep 2; exit 1", time="3s")
    with pytest.raises(TrainerError, match="status 1"):
        trainer.train(lesson(trials.config()))
    with pytest.raises(TrainerError, match="had not ended within 1 s"):
        trainer.train(lesson(trials.config()))


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("b = bytearray(900_000_000)", id="at once"),
        pytest.param(
            "import os, time\nfor _ in range(5): os.fork() or (bytearray(os.urandom(1000)) * 150_000, time.sleep(60))\n"
            "held = bytearray(os.urandom(1000)) * 150_000\ntime.sleep(60)",
            id="in several processes",
        ),
        pytest.param(
            "import os, time\nfor _ in range(5): os.fork() or (os.setsid(), bytearray(os.urandom(1000)) * 150_000, "
            "time.sleep(60))\ntime.sleep(60)",
            id="in sessions of their own",
        ),
    ],
)
def test_a_trainer_has_a_limit_of_memory(trials: Trials, code: str) -> None:
    """Of one process, and of all together."""
    with pytest.raises(TrainerError, match=r"MemoryError|took more than 400 MB of memory, in"):
        trials.command(sys.executable, "-c", code, memory_mb=400, time="60s").train(lesson(trials.config()))
    assert left_over(trials.folder) == []


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import sys\nfor _ in range(1_000_000): sys.stdout.write('x' * 999 + chr(10))", id="lines"),
        pytest.param("import sys\nfor _ in range(1000): sys.stdout.write('x' * 1_000_000)", id="one line"),
    ],
)
def test_a_gigabyte_of_output_fills_neither_log_nor_memory(tmp_path: Path, code: str) -> None:
    """Its beginning and its end are handed on, and how much was between."""
    said: list[str] = []
    before = memory()
    code += "\nprint(chr(10) + 'the end')"
    ended = run_bounded([sys.executable, "-c", code], tmp_path, os.environ, seconds=100, memory=10**9, say=said.append)
    assert (ended.status, ended.failure, ended.last_line) == (0, None, "the end")
    assert said[-1] == "the end"
    assert LINES < len(said) <= LINES + LAST_LINES + 1
    assert "more bytes were printed" in said[LINES]
    assert sum(map(len, said)) < 600_000
    assert memory() - before < 50_000_000


def test_an_interrupted_run_takes_its_trainer_with_it(tmp_path: Path) -> None:
    """As when Prefect ends the run by SIGTERM, which its process hears as an exception."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    environment = {**os.environ, "TRAINER_OUTPUT": str(tmp_path)}
    try:
        with pytest.raises(KeyboardInterrupt):
            run_bounded(["sleep", "1000"], tmp_path, environment, seconds=60, memory=10**9, say=print)
    finally:
        signal.signal(signal.SIGALRM, former)
    assert left_over(tmp_path) == []


RUN = """
import os, sys
from pathlib import Path
from flows.training.bounded_process import run_bounded
folder = Path(sys.argv[1])
command = [sys.executable, "-m", "flows.trainer_process", "1000000000", "command", "sleep", "1000"]
run_bounded(command, folder, {**os.environ, "PYTHONPATH": os.getcwd(), "TRAINER_OUTPUT": str(folder)},
            seconds=900, memory=10**9, say=print)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="nothing else ends a process with its parent")
def test_a_run_that_is_killed_takes_its_trainer_with_it(tmp_path: Path) -> None:
    """It cannot end it itself; the system does."""
    with process([sys.executable, "-c", RUN, tmp_path], tmp_path / "run.log") as run:
        eventually("the trainer", lambda: "sleep\n" in left_over(tmp_path))
        run.kill()
        eventually("its end", lambda: not left_over(tmp_path))


@pytest.mark.parametrize(
    ("retrain", "reason"),
    [
        pytest.param({"trainer": "train"}, "trainer", id="no module"),
        pytest.param({"trainer": "a b:train"}, "trainer", id="no name"),
        pytest.param({"trainer": "a:b", "command": ["c"]}, "give either trainer or command", id="both"),
        pytest.param({"command": []}, "command", id="no words"),
        pytest.param({"command": "sh train.sh"}, "command", id="no list"),
        pytest.param({"limits": {"time": "soon"}}, "a duration is", id="no time"),
        pytest.param({"limits": {"memory_mb": 1}}, "memory_mb", id="no memory"),
    ],
)
def test_a_trainer_that_cannot_be_one_is_told_at_the_start(
    tmp_path: Path, retrain: dict[str, Any], reason: str
) -> None:
    """By its key."""
    with pytest.raises(ConfigError, match=f"retrain.*{reason}"):
        load_config(write_config(tmp_path, **retrain))
