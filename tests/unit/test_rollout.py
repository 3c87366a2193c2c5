"""The trial of a candidate in the flows: how it begins and ends, and what a crash or a hand leaves of it."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow
import pytest

from flows.registry.publication import complete
from flows.registry.versions import challenge, load_version, promote, tags_of, version_of
from flows.rollout import Decided, begin_trial, conclude_trial, trial_on
from flows.run_history import RunRecord
from flows.training.candidate import make_candidate
from monitoring.contract.drift_state import DriftState
from monitoring.contract.errors import ConfigError
from monitoring.contract.history import read_history
from monitoring.contract.names import CHALLENGER, LEARNED_THROUGH, PREVIOUS
from monitoring.contract.reference import read_reference
from monitoring.contract.trial import Decision, Ruling, Trial, read_trial, write_ruling, write_trial
from tests.unit.flows_fixtures import START, draw_wine, write_log
from tests.unit.models import wine
from tests.unit.register_fixtures import Bringing, bringing_to_wine, fitted, tracking_store  # noqa: F401 - fixtures

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's, not ours


class Rollout(Bringing):
    """A champion of before a drift, version 1, and a candidate of after it, version 2."""

    record: RunRecord

    def begin(self) -> Trial:
        """Register the candidate, and put it on trial."""
        rows = draw_wine(400, shift=6.0, seed=4)
        through = write_log(self.layout, self.config, rows)[1]
        reference = read_reference(self.layout, self.config.model)
        champion = load_version(self.config.model, "1").onnx
        candidate = make_candidate(rows, reference.table, champion, self.config, 3)
        self.save(fitted(shift=6.0), "later.joblib")
        version = _registered(self, through)
        return begin_trial(self.config, self.layout, version, "1", candidate)

    def on(self, champion: str = "1") -> Trial | None:
        return trial_on(self.config, self.layout, champion, self.record)

    def conclude(self, decision: Decision | None) -> tuple[str, str]:
        trial = read_trial(self.layout)
        assert trial is not None
        if decision:
            write_ruling(self.layout, Ruling(trial=trial, decision=decision, because="it is so"))
        reference = read_reference(self.layout, self.config.model)
        return conclude_trial(Decided(self.config, self.layout, trial, reference, DriftState()))

    @property
    def challenger(self) -> str | None:
        return version_of(self.name, CHALLENGER)


def _registered(of: Bringing, through: int) -> str:
    """Register a model as a version that nobody has promoted."""
    source = mlflow.MlflowClient().get_model_version(of.name, "1").source
    tags = {LEARNED_THROUGH: str(through), "origin": "retrain", "gate": "passed"}
    return str(mlflow.register_model(source, of.name, tags=tags).version)


@pytest.fixture(name="rollout")
def rollout_of_wine(bringing: Bringing) -> Rollout:
    bringing.__class__ = Rollout
    assert isinstance(bringing, Rollout)
    assert bringing.run("register", bringing.save(fitted())) == 0
    bringing.configure(retrain={**bringing.config.retrain.model_dump(mode="json", exclude_defaults=True), **SHADOW})
    bringing.record = RunRecord(bringing.layout, "retrain", None)
    return bringing


SHADOW = {"rollout": "shadow", "minimum_labels": 100, "trial": {"labels": 1000}}


def test_a_trial_that_is_won_ends_as_every_promotion_does(rollout: Rollout) -> None:
    """The champion serves until then; afterwards the reference is of rows that the challenger has not learned from."""
    trial = rollout.begin()
    assert (rollout.champion, rollout.challenger, rollout.on()) == ("1", "2", trial)
    assert rollout.conclude(None)[0] == "OnTrial"
    outcome, message = rollout.conclude("promote")
    assert (outcome, "waits for its reference" in message) == ("TooFewLabels", True)
    assert rollout.challenger == "2"
    later = write_log(rollout.layout, rollout.config, draw_wine(300, seed=6), start=START + 10**9, writer="x")[1]
    assert rollout.conclude("promote")[0] == "Promoted"
    assert (rollout.champion, rollout.challenger, version_of(rollout.name, PREVIOUS)) == ("2", None, "1")
    reference = read_reference(rollout.layout, rollout.config.model)
    assert (reference.model_version, len(reference.table), reference.through) == ("2", 300, later)
    assert reference.performance is not None
    assert "serves_from" in tags_of(rollout.name, "2")
    assert read_trial(rollout.layout) is None
    assert rollout.on("2") is None


@pytest.mark.parametrize("step", ["end_trial", "complete"])
def test_a_promotion_that_is_cut_off_is_completed_by_the_next_run(
    rollout: Rollout, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """From the moment that the alias has moved the challenger is champion, with its own reference in the end."""
    rollout.begin()
    write_log(rollout.layout, rollout.config, draw_wine(300, seed=6), start=START + 10**9, writer="x")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"flows.rollout.{step}", die)
        with pytest.raises(KeyboardInterrupt):
            rollout.conclude("promote")
    assert rollout.champion == "2"
    assert complete(rollout.layout, "2")
    assert rollout.on("2") is None
    assert read_reference(rollout.layout, rollout.config.model).model_version == "2"
    assert (rollout.challenger, read_trial(rollout.layout)) == (None, None)


def test_a_trial_that_is_lost_leaves_the_champion(rollout: Rollout) -> None:
    """The reason is in the version's tags."""
    rollout.begin()
    before = rollout.layout.reference.read_bytes()
    assert rollout.conclude("drop")[0] == "Dropped"
    assert (rollout.champion, rollout.challenger, read_trial(rollout.layout)) == ("1", None, None)
    assert tags_of(rollout.name, "2")["trial_ended_because"] == "it is so"
    assert rollout.layout.reference.read_bytes() == before


def _hand_moves_champion(rollout: Rollout) -> str:
    promote(rollout.name, "2", "1")
    return "2"


def _rolled_back_to_another(_rollout: Rollout) -> str:
    return "7"


def _hand_removes_challenger(rollout: Rollout) -> str:
    mlflow.MlflowClient().delete_registered_model_alias(rollout.name, CHALLENGER)
    return "1"


def _file_is_gone(rollout: Rollout) -> str:
    (rollout.layout.root / "_rollout/trial.json").write_text("{")
    return "1"


def _config_says_direct(rollout: Rollout) -> str:
    rollout.configure(retrain={**SHADOW, "rollout": "direct"})
    return "1"


@pytest.mark.parametrize(
    ("happens", "told"),
    [
        pytest.param(_hand_moves_champion, None, id="a hand promotes it"),
        pytest.param(_rolled_back_to_another, "version 7 is champion now", id="another champion"),
        pytest.param(_hand_removes_challenger, "a hand has moved it", id="a hand removes the alias"),
        pytest.param(_file_is_gone, "no file tells of a trial", id="a damaged file"),
        pytest.param(_config_says_direct, "retrain.rollout is direct now", id="another config"),
    ],
)
def test_what_is_no_trial_any_more_is_ended_and_told(rollout: Rollout, happens, told: str | None) -> None:  # type: ignore[no-untyped-def]
    """No challenger stays for ever, and no alias is left that points to nothing."""
    rollout.begin()
    assert rollout.on(happens(rollout)) is None
    assert (rollout.challenger, read_trial(rollout.layout)) == (None, None)
    newest = read_history(rollout.layout)[0]
    assert (newest.outcome == "Dropped") == (told is not None)
    assert told is None or told in newest.message


def test_a_run_that_was_cut_off_before_the_alias_leaves_no_trial(rollout: Rollout) -> None:
    """The file is written first: without the alias nobody was ever asked."""
    write_trial(rollout.layout, Trial(version="2", champion="1", mode="shadow", began=datetime.now(UTC)))
    assert rollout.on() is None
    assert read_trial(rollout.layout) is None


def test_a_won_trial_whose_reference_never_comes_ends_with_its_time(rollout: Rollout) -> None:
    """Labels that have dried up hold no challenger for ever."""
    rollout.begin()
    old = Trial(version="2", champion="1", mode="shadow", began=datetime.now(UTC) - timedelta(days=20))
    write_trial(rollout.layout, old)
    challenge(rollout.name, "2")
    outcome, message = rollout.conclude("promote")
    assert outcome == "Dropped"
    assert "no reference can be made" in message


@pytest.mark.parametrize(
    ("retrain", "told"),
    [
        pytest.param({"rollout": "canary"}, "retrain.rollout", id="no such rollout"),
        pytest.param({"rollout": "shadow", "trial": {"labels": 99}}, "of which a challenger's reference", id="labels"),
        pytest.param({"rollout": "shadow", "forward": "http://hook"}, "forward has a scheduler retrain", id="forward"),
        pytest.param({"trial": {"level": 2}}, "retrain.trial.level", id="level"),
    ],
)
def test_a_config_that_no_trial_could_follow_is_refused(tmp_path: Path, retrain: dict[str, Any], told: str) -> None:
    """Before anything runs, with the key that is wrong."""
    with pytest.raises(ConfigError, match=re.escape(told)):
        wine(tmp_path, **retrain)
    assert wine(tmp_path, trial={"labels": 99}).retrain.rollout == "direct"
