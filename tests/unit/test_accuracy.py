"""The sequential test of accuracy: which outcomes count, the rate of false alarms, and its state over restarts."""

import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binom

from monitoring.alarms.accuracy import AccuracyTest, AccuracyVerdict, floor_of, lower_bound
from monitoring.alarms.harm_watch import HarmWatch
from monitoring.alarms.outcome_blocks import Blocks, blocks_of
from monitoring.contract.layout import Layout
from monitoring.contract.parts import list_parts
from monitoring.contract.reference import Performance, Reference, read_reference
from monitoring.contract.times import microseconds
from tests.unit.models import LOANS
from tests.unit.monitor_fixtures import START, keep_reference, label_rows, log_rows, make_rows
from tests.unit.test_window import Log

ROUNDS = int(os.environ.get("FUZZ_CASES", "1000")) // 50
PROMISE = 1_000
MEASURED = Performance(0.8, 400)
TARGET, PREDICTION = LOANS.model.target, LOANS.model.prediction


def _reference(folder: Path, **about: object) -> Reference:
    keep_reference(folder, LOANS, make_rows(LOANS, 50), **({"performance": MEASURED} | about))
    return read_reference(Layout(folder), LOANS.model)


def _watch(folder: Path, state: object = None, tolerance: float = 0.0, **about: object) -> HarmWatch:
    return HarmWatch(Layout(folder), LOANS, _reference(folder, **about), state, tolerance)


def _counts(watch: HarmWatch) -> tuple[int, int]:
    verdict = watch.update(PROMISE)
    assert verdict is not None
    assert not verdict.unreadable
    return verdict.rows, verdict.right


def _predictions(folder: Path, count: int, minute: int = 0, *, labels: bool = False) -> list[str]:
    """Log rows that all predict yes; with labels, every one of them is right."""
    rows = make_rows(LOANS, count, seed=minute).assign(**{PREDICTION: "yes", TARGET: "yes" if labels else None})
    return log_rows(folder, LOANS, rows, START + timedelta(minutes=minute))


def _label(folder: Path, ids: list[str], labels: list[str], second: int) -> None:
    label_rows(folder, LOANS, ids, labels, START + timedelta(seconds=second))


def test_a_late_label_counts_once_and_the_first_of_two_counts(tmp_path: Path) -> None:
    """Neither a repetition nor a contradiction is further evidence, in the same update or a later one."""
    ids = _predictions(tmp_path, 10)
    watch = _watch(tmp_path)
    assert _counts(watch) == (0, 0)
    _label(tmp_path, ids[:4], ["yes", "yes", "no", "no"], 1)
    _label(tmp_path, ids[3:5], ["yes", "yes"], 2)
    assert _counts(watch) == (5, 3)
    _label(tmp_path, ids[:6], ["no"] * 6, 3)
    assert _counts(watch) == (6, 3)
    _label(tmp_path, [i.upper() for i in ids[5:8]], ["yes"] * 3, 4)
    assert _counts(watch) == (8, 5)


def test_labels_of_ids_that_others_made_count(tmp_path: Path) -> None:
    """An id that tells no time, or another than its row's, is looked for in the whole log."""
    rows = make_rows(LOANS, 4).assign(**{PREDICTION: "yes", TARGET: None})
    ids = ["order 1", "order 2", "01a208af-b4e3-79a1-852a-d52998f0ed41", "0192e4a0-0000-4000-8000-000000000000"]
    log_rows(tmp_path, LOANS, rows, START, ids)
    watch = _watch(tmp_path)
    _label(tmp_path, ids, ["yes", "no", "yes", "yes"], 1)
    assert _counts(watch) == (4, 3)


def test_a_row_that_came_with_its_label_takes_no_other(tmp_path: Path) -> None:
    """The label in the row is the first, whichever of them is seen first."""
    watch = _watch(tmp_path)
    ids = _predictions(tmp_path, 5, labels=True)
    _label(tmp_path, ids, ["no"] * 5, 1)
    assert _counts(watch) == (5, 5)
    _label(tmp_path, ids, ["no"] * 5, 2)
    assert _counts(watch) == (5, 5)


def test_a_label_that_comes_before_its_row_waits_for_it(tmp_path: Path) -> None:
    """A row is in a journal for a while before it is in a part; a restart in between loses nothing."""
    watch = _watch(tmp_path)
    ids = _predictions(tmp_path, 5)
    (part,) = Layout(tmp_path).current.glob("*")
    hidden = part.rename(tmp_path / part.name)
    _label(tmp_path, ids, ["yes", "no", "yes", "no", "yes"], 1)
    verdict = watch.update(PROMISE)
    assert verdict is not None
    assert (verdict.rows, verdict.waiting, verdict.score) == (0, 5, None)
    watch = _watch(tmp_path, json.loads(json.dumps(watch.to_dict())))
    hidden.rename(part)
    _label(tmp_path, ids[:1], ["no"], 2)
    verdict = watch.update(PROMISE)
    assert verdict is not None
    assert (verdict.rows, verdict.right, verdict.waiting) == (5, 3, 0)


def test_rows_of_the_reference_and_of_another_version_do_not_count(tmp_path: Path) -> None:
    """Neither what the reference was made of, nor what the former champion still answered, is about this model."""
    old = _predictions(tmp_path, 5, labels=True)
    through = microseconds(START) + 2_000
    assert _counts(_watch(tmp_path, through=through)) == (2, 2)
    assert _counts(_watch(tmp_path, through=through, model_version="1")) == (2, 2)
    assert _counts(_watch(tmp_path, through=through, model_version="2")) == (0, 0)
    late = _predictions(tmp_path, 3, minute=1)
    _label(tmp_path, [*old, *late], ["yes"] * 8, 1)
    assert _counts(_watch(tmp_path, through=microseconds(START) + 60_000_000)) == (2, 2)


def _expected(layout: Layout) -> tuple[int, int]:
    """Count the labelled rows and the right ones from all that is in the files."""
    rows, labels = (
        [row for part in list_parts(folder)[0] for row in pq.read_table(part.path, partitioning=None).to_pylist()]
        for folder in (layout.current, layout.labels)
    )
    labels.sort(key=lambda row: row["timestamp"], reverse=True)
    first = {row["prediction_id"].lower(): row[TARGET] for row in labels}  # some are in capitals
    outcomes = [row[PREDICTION] == (row[TARGET] or first.get(row["prediction_id"])) for row in rows if
                row[TARGET] or row["prediction_id"] in first]  # fmt: skip
    return len(outcomes), sum(outcomes)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("often", [pytest.param(0.7, id="often"), pytest.param(0.2, id="seldom")])
def test_what_is_counted_does_not_depend_on_files_and_restarts(tmp_path: Path, often: float) -> None:
    """After any sequence of rows, labels, merges and restarts each labelled row counted once, by its first label."""
    for seed in range(ROUNDS):
        random = np.random.default_rng(seed)
        log = Log(tmp_path / str(seed), LOANS, random)
        watch = _watch(tmp_path / str(seed))
        for _ in range(25):
            step = random.choice(["append", "label", "merge", "restart"], p=[0.35, 0.35, 0.2, 0.1])
            if step == "restart":
                watch = _watch(tmp_path / str(seed), json.loads(json.dumps(watch.to_dict())))
            else:
                getattr(log, step)()
            if random.random() < often:
                watch.update(PROMISE)
        assert _counts(watch) == _expected(log.layout)


def test_an_update_that_fails_takes_nothing(tmp_path: Path) -> None:
    """What had been read when storage gave way is read again by the next update, and counts once."""
    ids = _predictions(tmp_path, 5, labels=True)
    watch = _watch(tmp_path)
    labels = tmp_path / "labels.parquet"
    labels.symlink_to(labels)  # listing it is an OSError
    for _ in range(2):
        with pytest.raises(OSError, match="symbolic links"):
            watch.update(PROMISE)
    labels.unlink()
    _label(tmp_path, ids, ["no"] * 5, 1)
    assert _counts(watch) == (5, 5)


def test_a_restarted_watch_has_the_same_score(tmp_path: Path) -> None:
    """What was found before a restart is part of the evidence after it, an alarm too."""
    _predictions(tmp_path, 60, labels=True)
    once = _watch(tmp_path)
    once.update(PROMISE)
    ids = _predictions(tmp_path, 100, minute=1)
    again = _watch(tmp_path, json.loads(json.dumps(once.to_dict())))
    _label(tmp_path, ids, ["no"] * 100, 1)
    verdicts = [watch.update(PROMISE) for watch in (once, again)]
    assert verdicts[0] == verdicts[1]
    assert verdicts[0] is not None
    assert verdicts[0].detected
    assert _watch(tmp_path, json.loads(json.dumps(again.to_dict()))).update(PROMISE) == verdicts[0]


@pytest.mark.parametrize(
    "state", [{}, {"about": 1}, {"about": ["x", 0.0]}], ids=["empty", "strange", "of another reference"]
)
def test_a_state_of_something_else_is_not_gone_on_from(tmp_path: Path, state: object) -> None:
    """Another reference begins anew: the rows are counted from the start."""
    _predictions(tmp_path, 5, labels=True)
    assert _counts(_watch(tmp_path, state)) == (5, 5)


def test_a_damaged_state_is_not_gone_on_from(tmp_path: Path) -> None:
    """A state that lacks a part, or has one of another shape, begins anew instead of failing for ever."""
    _predictions(tmp_path, 5, labels=True)
    watch = _watch(tmp_path)
    watch.update(PROMISE)
    for damage in ({"stream": {}}, {"test": {"fall": [0.0]}}, {"stream": {"rows": 1, "labels": 2}}, {"test": 3}):
        assert _counts(_watch(tmp_path, watch.to_dict() | damage)) == (5, 5)


@pytest.mark.parametrize(
    ("performance", "tolerance"),
    [
        pytest.param(None, 0.0, id="nothing measured"),
        pytest.param(Performance(0.0, 10), 0.0, id="never right"),
        pytest.param(Performance(0.6, 5), 0.3, id="five rows and a large tolerance"),
    ],
)
def test_there_is_no_verdict_where_there_is_nothing_to_test(
    tmp_path: Path, performance: Performance | None, tolerance: float
) -> None:
    """An older reference tells no accuracy; one that may be 0 cannot be fallen below."""
    watch = _watch(tmp_path, tolerance=tolerance, performance=performance)
    assert watch.update(PROMISE) is None
    assert _watch(tmp_path, watch.to_dict(), tolerance=tolerance, performance=performance).update(PROMISE) is None


def _add(
    test: AccuracyTest, random: np.random.Generator, accuracy: float, rows: int, promise: float
) -> AccuracyVerdict:
    test.add(random.random(rows) < accuracy, promise)
    return test.verdict()


def test_the_promise_holds_at_the_edge_of_what_is_promised() -> None:
    """At the lowest accuracy that is no harm, false alarms come as seldom as promised, and not much more seldom."""
    random = np.random.default_rng(5)
    rows = alarms = 0
    test = AccuracyTest(MEASURED)
    for _ in range(6_000):
        verdict = _add(test, random, test.floor, 50, 500)
        if verdict.detected:
            assert verdict.since is not None
            rows, alarms, test = rows + verdict.since, alarms + 1, AccuracyTest(MEASURED)
    assert alarms > 200
    deviation = 1 / np.sqrt(alarms)  # times between alarms are about exponential
    assert rows / alarms > 500 * (1 + 2 * deviation)
    assert rows / alarms < 1_000


@pytest.mark.parametrize("accuracy", [0.3, 0.8, 0.95])
@pytest.mark.parametrize("rows", [20, 300, 2_000])
def test_few_rows_at_promotion_lower_the_bound(accuracy: float, rows: int) -> None:
    """Whatever the model's true accuracy, the bound exceeds it in one promotion of twenty at most."""
    right = np.arange(rows + 1)
    above = np.array([lower_bound(k, rows) > accuracy for k in right.tolist()])
    assert binom.pmf(right, rows, accuracy)[above].sum() <= 0.05
    assert lower_bound(round(accuracy * rows), rows) < lower_bound(round(accuracy * 10 * rows), 10 * rows) < accuracy


def test_a_fall_is_found_and_the_alarm_stays_until_labels_refute_it() -> None:
    """Ten points are found in most of 40 streams within 1,000 rows; the alarm goes on until accuracy is back."""
    random, false, found, over = np.random.default_rng(7), 0, 0, 0
    for _ in range(40):
        test = AccuracyTest(Performance(0.8, 1_000), tolerance=0.0)
        false += _add(test, random, 0.8, 1_000, 10_000).detected
        found += _add(test, random, 0.7, 1_000, 10_000).detected
        lasting = _add(test, random, 0.6, 2_000, 10_000)
        assert lasting.detected
        assert lasting.score is not None
        assert lasting.score > lasting.threshold
        over += not _add(test, random, 0.85, 2_000, 10_000).detected
    assert false <= 4
    assert found >= 36
    assert over >= 36


def test_how_labels_are_batched_does_not_matter() -> None:
    """One update with many rows finds what an update after each would have found."""
    outcomes = np.concatenate([np.random.default_rng(3).random(300) < p for p in (0.8, 0.5, 0.9)])
    whole, single = (AccuracyTest(MEASURED, tolerance=0.0) for _ in range(2))
    whole.add(outcomes, PROMISE)
    alarms = []
    for outcome in outcomes:
        single.add(np.array([outcome]), PROMISE)
        alarms.append(single.verdict().detected)
    assert any(alarms)
    assert whole.verdict().score == pytest.approx(single.verdict().score)
    assert replace(whole.verdict(), score=None) == replace(single.verdict(), score=None)


def _detects(test: AccuracyTest, right: np.ndarray) -> bool:
    test.add(right, PROMISE)
    return test.verdict().detected


def test_days_that_differ_as_the_references_do_raise_no_alarm_and_a_lasting_fall_does(tmp_path: Path) -> None:
    """Rows of one bad day are one value; by rows the same days would raise an alarm. A restart changes nothing."""
    rng = np.random.default_rng(5)
    days, rows, day = 60, 200, 86_400_000_000
    shares = rng.beta(9, 1, 2 * days).repeat(rows)
    right = rng.random(len(shares)) < shares
    times = START.timestamp() * 1e6 + np.arange(len(right)) * (day / rows)
    known, later = right[: days * rows], right[days * rows :]
    columns = {PREDICTION: np.where(known, "yes", "no"), TARGET: np.full(len(known), "yes")}
    of = pa.array(times[: len(known)].astype(np.int64)).cast(pa.timestamp("us", "UTC"))
    performance = Performance(float(known.mean()), len(known))
    reference = replace(_reference(tmp_path), table=pa.table({**columns, "timestamp": of}), performance=performance)
    blocks = blocks_of(reference, LOANS.model)
    assert blocks is not None
    assert blocks.seconds >= 86_400
    one_by_one, together = AccuracyTest(performance), AccuracyTest(performance, blocks=blocks)
    assert any(_detects(one_by_one, part) for part in np.split(later, days))
    half = len(later) // 2
    together.add(later[:half], PROMISE, times[len(known) :][:half].astype(np.int64))
    together = AccuracyTest(performance, json.loads(json.dumps(together.to_dict())), blocks=blocks)
    together.add(later[half:], PROMISE, times[len(known) :][half:].astype(np.int64))
    verdict = together.verdict()
    assert not verdict.detected
    assert (verdict.block, verdict.rows, verdict.right) == (blocks.seconds, len(later), later.sum())
    fallen = later & (rng.random(len(later)) < 0.8)
    together.add(fallen, PROMISE, (times[len(known) :] + days * day).astype(np.int64))
    since = together.verdict().since
    assert since is not None
    assert since > len(later)


@pytest.mark.parametrize("seed", range(4))
def test_days_that_differ_a_little_are_blocks_and_rows_that_do_not_are_not(tmp_path: Path, seed: int) -> None:
    """A day's accuracy that deviates by a twentieth is nothing in a minute, and much among the days of a month."""
    rng = np.random.default_rng(seed)
    days, rows = 30, 500
    times = pa.array(np.arange(days * rows) * (86_400_000_000 // rows)).cast(pa.timestamp("us", "UTC"))

    def seconds(shares: np.ndarray) -> float:
        columns = {PREDICTION: np.where(rng.random(len(shares)) < shares, "yes", "no"), TARGET: ["yes"] * len(shares)}
        blocks = blocks_of(replace(_reference(tmp_path), table=pa.table({**columns, "timestamp": times})), LOANS.model)
        assert blocks is not None
        return blocks.seconds

    assert seconds(np.clip(0.9 + 0.05 * rng.normal(size=days), 0, 1).repeat(rows)) >= 86_400
    assert seconds(np.full(days * rows, 0.9)) == 60


def test_labels_of_a_month_that_come_at_once_are_in_their_blocks_in_whatever_order() -> None:
    """Labels by ids that tell no time come in any order; sorted or not, the verdict is the same."""
    rng = np.random.default_rng(1)
    right, times = rng.random(6_000) < 0.8, np.arange(6_000) * 864_000_000 // 2
    blocks = Blocks(86_400.0, 0.9, 0.03, 60)
    found = []
    for order in (np.arange(6_000), rng.permutation(6_000)):
        test = AccuracyTest(Performance(0.9, 5_000), blocks=blocks)
        test.add(right[order], PROMISE, times[order])
        found.append(test.verdict())
    assert found[0].detected
    assert found[0] == replace(found[1], score=found[0].score)
    assert found[0].score == pytest.approx(found[1].score)


def test_blocks_of_few_rows_promise_no_more_than_the_rows_do() -> None:
    """Of a hundred rows all right the means deviate by nothing, and that says little of the truth."""
    blocks = Blocks(60.0, 1.0, 0.0, 100)
    assert floor_of(Performance(1.0, 100), 0.0, blocks) == pytest.approx(lower_bound(100, 100))
