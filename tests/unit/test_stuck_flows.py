"""Runs that do not end, clocks that jump, values far outside and very many rows: the flows go on, and tell."""

import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from prometheus_client import CollectorRegistry

from flows.clients.prefect import Prefect
from flows.registry.publication import complete, stage
from flows.registry.versions import Champion
from flows.run_limit import RunLimit
from flows.training import changepoint
from flows.training.candidate import make_candidate
from flows.training.changepoint import last_changepoint
from flows.training.collection import newest_row
from flows.training.export import export_onnx
from flows.training.far_values import FarValues
from flows.training.pipeline import train
from flows.training.sample import sample_of
from flows.training.trained import RecipeTrained
from flows.trigger import polling
from flows.trigger.polling import Poll
from monitoring.contract.config import Config
from monitoring.contract.layout import Layout
from monitoring.contract.onnx.model import load_onnx
from monitoring.contract.reference import read_reference
from monitoring.contract.times import Micros, latest_time, microseconds
from monitoring.page.page import create_app
from tests.unit.flows_fixtures import draw_wine
from tests.unit.models import LOANS, wine
from tests.unit.monitor_fixtures import keep_reference, log_rows, make_rows, monitor_of

from tests.unit.test_trigger import (  # isort: skip
    CREATE, NOTIFICATION, RUN, RUNS, WELL, client_of, ended_run, poll, post, servers, token_file,
)  # fmt: skip

__all__ = ["token_file"]  # a fixture

SET_STATE = "POST /api/flow_runs/run-1/set_state"
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return wine(tmp_path_factory.mktemp("config"))


class Ticks:
    """A clock that never jumps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("state", ["RUNNING", "PENDING"])
def test_a_run_that_does_not_end_is_ended_and_told(state: str) -> None:
    """Whatever the time of day was when it began; Prefect's runner kills it, and it counts as crashed."""
    running = {**RUN, "state_type": state, "start_time": (NOW - timedelta(days=1)).isoformat()}
    answers: dict[str, tuple[int, Any]] = {RUNS: (200, [running]), SET_STATE: (201, {"status": "ACCEPT"})}
    ticks = Ticks()
    with servers(answers) as (base, asked):
        limit = RunLimit(Prefect(f"{base}/api"), ["retrain"], 60, ticks)
        limit.look()
        ticks.now += 59
        limit.look()
        assert SET_STATE not in dict(asked)
        ticks.now += 1
        limit.look()
        sent = dict(asked)[SET_STATE]
        assert (sent["state"]["type"], sent["force"]) == ("CANCELLING", False)
        asked.clear()
        answers[RUNS] = (200, [{**running, "state_type": "CANCELLING"}])
        limit.look()
        assert SET_STATE not in dict(asked)
        answers |= {RUNS: (200, []), "GET /api/flow_runs/run-1": (200, {**running, "state_type": "CANCELLED"})}
        limit.look()
        sent = dict(asked)[SET_STATE]
        assert (sent["state"]["type"], sent["force"]) == ("CRASHED", True)
        assert "within 60 s" in sent["state"]["message"]
        asked.clear()
        limit.look()
        assert [route for route, _ in asked] == [RUNS]


def test_a_run_that_prefect_does_not_end_crashes_all_the_same() -> None:
    """It would be CANCELLING for ever, and hold what waits behind it: after a second limit it is over."""
    answers: dict[str, tuple[int, Any]] = {
        RUNS: (200, [{**RUN, "state_type": "CANCELLING"}]),
        SET_STATE: (201, {"status": "ACCEPT"}),
    }
    ticks = Ticks()
    with servers(answers) as (base, asked):
        limit = RunLimit(Prefect(f"{base}/api"), ["retrain"], 60, ticks)
        for seconds in (0, 119):
            ticks.now += seconds
            limit.look()
        assert SET_STATE not in dict(asked)
        ticks.now += 1
        limit.look()
    sent = dict(asked)[SET_STATE]
    assert (sent["state"]["type"], sent["force"]) == ("CRASHED", True)


@pytest.mark.parametrize("ended", ["COMPLETED", "FAILED"])
def test_a_run_that_ends_by_itself_at_the_last_moment_keeps_its_outcome(ended: str) -> None:
    """It is not said to have crashed."""
    running = {**RUN, "state_type": "RUNNING"}
    answers: dict[str, tuple[int, Any]] = {RUNS: (200, [running]), SET_STATE: (200, {"status": "REJECT"})}
    ticks = Ticks()
    with servers(answers) as (base, asked):
        limit = RunLimit(Prefect(f"{base}/api"), ["retrain"], 60, ticks)
        limit.look()
        ticks.now += 61
        limit.look()
        answers |= {RUNS: (200, []), "GET /api/flow_runs/run-1": (200, {**running, "state_type": ended})}
        limit.look()
    assert [body["state"]["type"] for route, body in asked if route == SET_STATE] == ["CANCELLING"]


def test_a_run_that_ended_while_the_clock_was_ahead_holds_nothing_off(token_file: Path) -> None:
    """A cooldown that ends beyond its length is none; what comes later has keys of its own, and is not hidden."""
    ahead = ended_run(1, "NotPromoted", NOW + timedelta(days=1), "t")
    answers: dict[str, tuple[int, Any]] = {**WELL, RUNS: (200, [ahead])}
    with servers(answers) as (base, asked):
        client = client_of(token_file, base)
        answer = post(client, NOTIFICATION).json
        assert (answer["outcome"], answer["runs_ahead_of_clock"]) == ("accepted", 1)
        first = dict(asked)[CREATE]["idempotency_key"]
        failed = ended_run(2, "Failed", NOW - timedelta(hours=1), "t") | {"state_type": "FAILED"}
        answers[RUNS] = (200, [ahead, failed])  # as Prefect sorts them
        asked.clear()
        assert post(client, NOTIFICATION).json["outcome"] == "accepted"
        assert dict(asked)[CREATE]["idempotency_key"] != first
        polled = poll(client)
        assert polled["flow_runs_ahead_of_clock", "retrain"] == 1
        assert polled["flow_last_run_state", "retrain", "FAILED"] == 1
        assert polled["flow_held_until_timestamp_seconds", "retrain"] < time.time()
        answers[RUNS] = (200, [ended_run(3, "NotPromoted", datetime.now(UTC) + timedelta(seconds=2), "t")])
        assert post(client, NOTIFICATION).json["outcome"] == "cooldown"  # clocks differ by a little


@pytest.mark.parametrize(("state", "outcome"), [("SCHEDULED", "accepted"), ("RUNNING", "known")])
def test_a_run_that_is_to_begin_tomorrow_is_not_waited_for(token_file: Path, state: str, outcome: str) -> None:
    """It was asked for while the clock was ahead; one that is at work is, whatever the clock said when it began."""
    moment = (NOW + timedelta(days=1)).isoformat()
    started = {} if state == "SCHEDULED" else {"start_time": moment}
    with servers({**WELL, RUNS: (200, [{**RUN, "created": moment, "state_type": state, **started}])}) as (base, _):
        assert post(client_of(token_file, base), NOTIFICATION).json["outcome"] == outcome


def test_a_poll_that_hangs_or_meets_nonsense_shows_no_old_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers byte by byte, or something else than ever before, is one that does not answer."""
    answers: list[Any] = [1, TypeError("'NoneType' object is not subscriptable"), 2]

    def read() -> int:
        if isinstance(answer := answers.pop(0), Exception):
            raise answer
        assert watched.seen in (None, 1)
        monkeypatch.setattr(polling, "PATIENCE", -1.0)
        assert watched.seen is None
        return int(answer)

    watched: Poll[int] = Poll("prefect", read, 60)
    for seen, failures in ((1, 0), (None, 1), (2, 1)):
        monkeypatch.setattr(polling, "PATIENCE", 120.0)
        watched.poll()
        assert (watched.seen, watched.failures) == (seen, failures)


def test_what_a_champion_learned_while_the_clock_was_ahead_hides_no_rows(layout: Layout, config: Config) -> None:
    """Else no row would be newer than its own for years, and every retraining would find too few labels."""
    rows = draw_wine(60)
    stage(layout, config.model, "1", rows.append_column("guess", rows["truth"]), origin="user", through=Micros(77))
    complete(layout, "1")
    reference = read_reference(layout, config.model)
    onnx = load_onnx(export_onnx(train(sample_of(rows, config.model)), config.model).SerializeToString(), config.model)
    ahead = Micros(latest_time() + 86_400_000_000)
    assert Champion("1", onnx, learned_through=ahead).unseen_after(reference) == 77
    assert Champion("1", onnx, learned_through=Micros(99)).unseen_after(reference) == 99


def test_a_reference_that_an_api_with_a_clock_ahead_has_dated_is_told(tmp_path: Path) -> None:
    """Its rows are 50 minutes ahead, and so is the time that the reference goes through: no other row is looked at."""
    ahead = datetime.now(UTC) + timedelta(minutes=50)
    log_rows(tmp_path, LOANS, make_rows(LOANS, 100), start=ahead)
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200), through=newest_row(Layout(tmp_path)))
    log_rows(tmp_path, LOANS, make_rows(LOANS, 80, seed=1), start=datetime.now(UTC) - timedelta(seconds=5))
    monitor, registry = monitor_of(tmp_path)
    monitor.cycle()
    assert registry.get_sample_value("rowcount") == 0
    assert 2900 < registry.get_sample_value("reference_ahead_seconds") < 3001
    page = create_app(monitor, registry, lambda: True).test_client().get("/").text
    assert "The reference is ahead of the clock" in page
    log_rows(tmp_path, LOANS, make_rows(LOANS, 70, seed=2), start=ahead + timedelta(seconds=1))
    monitor.cycle()
    assert registry.get_sample_value("rowcount") == 70


@pytest.mark.parametrize("through", [None, timedelta(0), timedelta(days=-3)])
def test_a_reference_of_the_past_is_not_ahead(tmp_path: Path, through: timedelta | None) -> None:
    """The metric is there, and 0; the page says nothing."""
    moment = None if through is None else microseconds(datetime.now(UTC) + through)
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200), through=moment)
    log_rows(tmp_path, LOANS, make_rows(LOANS, 60))
    monitor, registry = monitor_of(tmp_path)
    monitor.cycle()
    assert registry.get_sample_value("reference_ahead_seconds") == 0
    assert (
        "ahead of the clock" not in create_app(monitor, CollectorRegistry(), lambda: True).test_client().get("/").text
    )


def poisoned(rows: pa.Table, few: int) -> pa.Table:
    """Return the rows, the first few of which hold 1e6 everywhere."""
    for name in ("acidity", "sugar", "alcohol", "density"):
        values = rows[name].to_numpy().copy()
        values[:few] = 1e6
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(values))
    return rows


def test_a_few_values_far_outside_do_not_decide_what_a_candidate_learns(config: Config) -> None:
    """Five labelled rows of 1e6 among 1,000 cost about those rows; the exported model is asked as it was taught."""
    reference = draw_wine(200)
    onnx = load_onnx(
        export_onnx(train(sample_of(reference, config.model)), config.model).SerializeToString(), config.model
    )
    rows = draw_wine(1000, shift=6.0, seed=4)
    calm = make_candidate(rows, reference, onnx, config, seed=1).comparison.candidate.accuracy
    candidate = make_candidate(poisoned(rows, 5), reference, onnx, config, seed=1)
    assert candidate.comparison.candidate.accuracy > calm - 0.03
    exported = load_onnx(candidate.trained.exported.SerializeToString(), config.model)
    asked = sample_of(poisoned(draw_wine(300, shift=6.0, seed=9), 20), config.model)
    assert isinstance(candidate.trained, RecipeTrained)
    assert (exported.predict(asked.features)[0] == candidate.trained.pipeline.predict(asked.features)).all()


def mostly(usual: float, share: float, others: Callable[[np.random.Generator, int], Any]) -> Any:
    """Return what draws a column of one value, of which a share are others."""
    return lambda rng, rows: np.where(rng.permutation(rows) < share * rows, others(rng, rows), usual)


def uniform(rng: np.random.Generator, rows: int) -> Any:
    return rng.uniform(0, 10_000, rows)


def normal(rng: np.random.Generator, rows: int) -> Any:
    return rng.normal(0, 1, rows)


@pytest.mark.parametrize("rows", [400, 4000])
@pytest.mark.parametrize(
    ("draw", "widest"),
    [
        pytest.param(mostly(0, 0.012, uniform), np.inf, id="1.2 % not 0"),
        pytest.param(mostly(0, 0.051, uniform), 1e5, id="5.1 % not 0"),
        pytest.param(mostly(0, 0.055, uniform), 1e5, id="5.5 % not 0"),
        pytest.param(mostly(0, 0.1, uniform), 1e5, id="10 % not 0"),
        pytest.param(mostly(0, 0.6, uniform), 1e5, id="60 % not 0"),
        pytest.param(mostly(0.02, 0.12, normal), 30, id="88 % missing"),
        pytest.param(mostly(0.02, 0.11, normal), 30, id="89 % missing"),
        pytest.param(mostly(0, 0.02, lambda _, rows: np.full(rows, 7.0)), np.inf, id="2 % are 7"),
        pytest.param(mostly(0, 0.03, lambda _, rows: np.full(rows, 7.0)), np.inf, id="3 % are 7"),
        pytest.param(mostly(0, 0.3, lambda _, rows: np.ones(rows)), 3, id="yes and no"),
        pytest.param(lambda rng, rows: rng.lognormal(0, 1, rows), 100, id="lognormal"),
        pytest.param(lambda rng, rows: rng.lognormal(0, 2, rows), 1000, id="lognormal, heavy"),
        pytest.param(lambda rng, rows: rng.poisson(0.8, rows), 20, id="counts"),
        pytest.param(normal, 15, id="normal"),
    ],
)
def test_honest_columns_stay_as_they_are_and_five_rows_far_outside_do_not(
    draw: Callable[[np.random.Generator, int], Any], widest: float, rows: int
) -> None:
    """Whatever share of the rows holds the most common value; five are more than 1 % of 400."""
    rng = np.random.default_rng(8)
    values = draw(rng, rows).astype(np.float32).reshape(-1, 1)
    bounded = FarValues().fit(values).transform(values)
    held = values != np.median(values)
    assert (bounded != values).sum() <= 0.01 * held.sum()
    values[rng.permutation(rows)[:5]] = 1e6
    assert np.abs(FarValues().fit(values).transform(values)).max() <= widest


def test_far_is_told_by_the_rows_themselves() -> None:
    """Usual values stay as they are: normal ones, rare ones of a column that is mostly 0, a constant."""
    rng = np.random.default_rng(3)
    rare = np.where(rng.random(1000) < 0.02, 7.0, 0.0)
    values = np.column_stack([rng.normal(5, 2, 1000), rare, np.full(1000, 3.0), rng.lognormal(0, 0.5, 1000)])
    values = values.astype(np.float32)
    assert (FarValues().fit(values).transform(values) == values).mean() > 0.998
    far = values.copy()
    far[:5] = 1e6
    bounded = FarValues().fit(far).transform(far)
    assert np.abs(bounded[:, [0, 3]]).max() < 30
    assert (bounded[5:, :3] == values[5:, :3]).all()


def test_the_search_for_a_change_does_not_grow_with_the_square_of_the_rows() -> None:
    """Of very many rows so many splits and values are looked at, and no more; the newest rows still closely."""
    for rows in (1_000, 8_000, 100_000, 3_000_000):
        splits, step = changepoint._splits(rows, changepoint.SHORTEST)
        assert len(splits) <= 2 * changepoint.MOST_SPLITS
        assert (np.diff(splits) <= step).all()
        assert (splits[0], rows - splits[-1]) == (50, 50)
    rng = np.random.default_rng(5)
    values = rng.normal(size=(32_000, 2)).astype(np.float32)
    values[-400:, 1] += 1.5
    tracemalloc.start()
    found = last_changepoint(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert abs(found - 31_600) < 30
    assert peak < 20_000_000  # 125 bytes a value and less; one cell for each value and split would be 40,000,000


def test_the_distance_of_a_split_is_that_of_the_two_samples() -> None:
    """Of as many values as are looked at it is exact; of more it is a little less at most."""
    rng = np.random.default_rng(6)
    for values, slack in ((rng.normal(size=500).round(1), 0), (rng.normal(size=3 * changepoint.MOST_POINTS), 1e-3)):
        rows, splits = len(values), np.array([60, 200, len(values) - 100])
        found = changepoint._ks_scaled(values, splits) / np.sqrt(splits * (rows - splits) / rows)
        points = np.unique(values)
        for split, distance in zip(splits, found, strict=True):
            shares = [
                np.searchsorted(np.sort(side), points, "right") / len(side) for side in (values[:split], values[split:])
            ]
            exact = np.abs(shares[0] - shares[1]).max()
            assert exact - slack <= distance + 1e-12
            assert distance <= exact + 1e-12
