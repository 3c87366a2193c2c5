"""A model that somebody proposes: what it is judged by, and what it takes to become champion."""

import numpy as np
import pyarrow as pa
import pytest

from flows.registry.publication import sole_run, stage
from flows.registry.versions import RegistryError, promote, tags_of
from flows.retrain import _champion
from monitoring.contract.history import read_history
from monitoring.contract.layout import Layout
from monitoring.contract.reference import read_reference
from tests.unit.flows_fixtures import START, draw_wine, write_log
from tests.unit.own_models import converted, named
from tests.unit.register_fixtures import Bringing, bringing_to_wine, fitted, tracking_store  # noqa: F401 - fixtures

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's, not ours


@pytest.fixture(name="served")
def served_by_a_model(bringing: Bringing) -> Bringing:
    """Make a model of before the drift champion."""
    assert bringing.run("register", bringing.save(fitted())) == 0
    return bringing


def log_later(bringing: Bringing, rows: pa.Table | None = None) -> int:
    """Log 600 labelled rows from after a drift, or other rows; return the newest one's time."""
    return write_log(bringing.layout, bringing.config, draw_wine(600, shift=6.0, seed=4) if rows is None else rows)[1]


def without_sugar(rows: pa.Table, every: int) -> pa.Table:
    values = [None if place % every == 0 else value for place, value in enumerate(rows["sugar"].to_pylist())]
    return rows.set_column(rows.schema.get_field_index("sugar"), "sugar", pa.array(values, pa.float32()))


@pytest.mark.parametrize("command", ["register", "propose"])
def test_the_champions_own_file_changes_nothing(served: Bringing, command: str) -> None:
    """Its answers would tie with themselves, and its promise would be lost to rows that nobody asked about."""
    log_later(served)
    before = served.layout.reference.read_bytes()
    told = len(read_history(served.layout))
    assert served.run(command, f"{served.folder}/model.joblib") == 0
    assert "Ready: version 1 is champion already" in served.said
    assert (served.champion, tags_of(served.name, "2")) == ("1", {})
    assert served.layout.reference.read_bytes() == before
    assert len(read_history(served.layout)) == told


def test_a_registration_that_was_cut_off_is_completed_by_the_next(served: Bringing) -> None:
    """The alias had moved and the reference lay ready: the same command again puts it into its place."""
    rows = read_reference(served.layout, served.config.model).table.slice(0, 200)
    stage(served.layout, served.config.model, "1", rows, origin="user")
    assert served.run("register", f"{served.folder}/model.joblib") == 0
    assert "Ready: version 1" in served.said
    assert len(read_reference(served.layout, served.config.model).table) == 200
    assert read_history(served.layout)[0].outcome == "Recovered"


def test_a_model_that_is_as_good_is_not_promoted(served: Bringing) -> None:
    """It has learned from nothing newer, as a candidate of ours has: a tie is no reason to change."""
    log_later(served)
    path = served.folder / "same.onnx"
    path.write_bytes(named(converted(fitted())))
    assert served.run("propose", str(path)) == 1
    assert "gain +0.000; +0.000 or more was asked for" in served.said
    assert "A promotion takes a gain, and there is none" in served.said
    assert served.champion == "1"


def test_a_model_without_answers_for_some_of_the_traffic_is_refused(served: Bringing) -> None:
    """The rows that it has no answer for would be errors of the API."""
    log_later(served, without_sugar(draw_wine(600, shift=6.0, seed=4), every=30))
    assert served.run("propose", served.save(fitted(shift=6.0), "later.joblib")) == 2
    assert "of those that were collected: it needs a value of sugar" in served.refused
    assert "The champion stays" in served.refused
    assert (served.champion, tags_of(served.name, "2")) == ("1", {})


def test_rows_that_could_become_no_reference_are_told(served: Bringing) -> None:
    """Before a version is registered that could not be published."""
    log_later(served, without_sugar(draw_wine(600, shift=6.0, seed=4), every=1))
    assert served.run("propose", served.save(fitted(shift=6.0), "later.joblib")) == 2
    assert "no reference could be made of the 600 labelled rows" in served.refused
    assert "column sugar has no value" in served.refused
    assert tags_of(served.name, "2") == {}


def test_rows_that_a_model_has_learned_from_do_not_judge_it(served: Bringing) -> None:
    """Who brings it says through when; a later model is held against it on newer rows too."""
    log_later(served)
    later = served.save(fitted(shift=6.0), "later.joblib")
    through = START + 1000 * 299
    told = str(np.datetime64(through, "us"))
    assert served.run("propose", later, "--learned-through", told) == 0
    assert "300 of 300 rows have a label" in served.said
    assert "nobody can see" not in served.said
    assert tags_of(served.name, "2")["learned_through"] == str(through)


def test_without_that_time_it_is_said_that_nobody_can_see_it(served: Bringing) -> None:
    """The rows that it has learned from may be among those that judge it."""
    log_later(served)
    assert served.run("propose", served.save(fitted(shift=6.0), "later.joblib")) == 0
    assert "note: nobody can see which rows it has learned from; --learned-through TIME" in served.said


def test_another_systems_log_judges_it(served: Bringing, monkeypatch: pytest.MonkeyPatch) -> None:
    """PREDICTION_LOG is the log of these commands as it is of a retraining."""
    theirs = Layout(served.folder / "theirs")
    write_log(theirs, served.config, draw_wine(600, shift=6.0, seed=4))
    monkeypatch.setenv("PREDICTION_LOG", str(theirs.current))
    assert served.run("propose", served.save(fitted(shift=6.0), "later.joblib")) == 0
    assert "600 of 600 rows have a label" in served.said


def test_a_model_is_loaded_before_the_lock_is_taken(bringing: Bringing) -> None:
    """A run of the flows does not wait for what a foreign model takes, nor it for them."""
    with sole_run(bringing.layout):
        assert bringing.run("register", str(bringing.folder / "absent.joblib")) == 2
    assert "absent.joblib: cannot be read" in bringing.refused


@pytest.mark.parametrize("former", [None, "7"])
def test_a_champion_that_has_changed_meanwhile_stays(served: Bringing, former: str | None) -> None:
    """A person has moved the alias while the run was at work; a retry after the alias has moved is no such case."""
    with pytest.raises(RegistryError, match="version 1 is champion now, not"):
        promote(served.name, "2", former)
    assert served.champion == "1"
    promote(served.name, "1", None)


def test_without_a_champion_a_run_says_how_the_first_one_comes(bringing: Bringing) -> None:
    """Where the config waits for a model, no flow makes one."""
    with pytest.raises(RegistryError, match="has no champion; the flow `bootstrap` makes it"):
        _champion(bringing.config)
    with pytest.raises(RegistryError, match="has no champion; `python -m flows register"):
        _champion(bringing.configure(bootstrap="wait"))
