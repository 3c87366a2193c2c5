"""Append, seal, merge, recover, hold and kill in any order, by several processes, against a model: a set of ids."""

import os
import shutil
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from api.log.maintenance import Maintenance
from api.log.retention import Retention
from monitoring.contract.journals import list_journals
from tests.unit.log_fixtures import MODEL, Log, ids, read_ids, rows
from tests.unit.log_writer import DONE, Writer

WRITERS = 3
WHERE = st.integers(0, WRITERS - 1)
# Which step of a command is its last: often none, often an early one, sometimes one deep in a merge.
STEP = st.one_of(st.just(-1), st.integers(0, 6), st.integers(0, 40))


class PredictionLog(RuleBasedStateMachine):
    """What was acknowledged, what may be there, and what a reader has seen; against the folder."""

    @initialize(fsync=st.booleans())
    def begin(self, *, fsync: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="log-model-", dir=_memory()))
        self.fsync = fsync
        self.writers: list[Writer | None] = [None] * WRITERS
        self.acknowledged: set[str] = set()
        self.unanswered: list[set[str]] = []  # requests: the log holds all of one, or nothing
        self.waiting: dict[Writer, set[str]] = {}
        self.seen: set[str] = set()

    def _writer(self, place: int, *, wider: bool = False) -> Writer:
        writer = self.writers[place]
        if writer is None:
            writer = self.writers[place] = Writer(self.folder, wider=wider, fsync=self.fsync)
        return writer

    def _free(self, place: int) -> bool:
        writer = self.writers[place]
        return writer is None or not writer.held

    @rule(place=WHERE, wider=st.booleans(), count=st.integers(1, 4), stop=STEP, kill=st.booleans())
    def append(self, *, place: int, wider: bool, count: int, stop: int, kill: bool) -> None:
        if not self._free(place):
            return
        writer = self._writer(place, wider=wider)
        request = rows(count, form=writer.form)
        answer = writer.tell("append", rows=request, stop=stop, kill=kill)
        self._note(place, answer, ids(request))

    @rule(place=WHERE, count=st.integers(16, 20))
    def fill(self, place: int, count: int) -> None:
        """Leave enough small parts that there is something to merge."""
        if self._free(place):
            writer = self._writer(place)
            for _ in range(count):
                request = rows(1, form=writer.form)
                self._note(place, writer.tell("append", rows=request), ids(request))
                writer.tell("seal")

    @rule(
        place=WHERE,
        act=st.sampled_from(["seal", "recover", "maintenance", "maintenance"]),
        stop=STEP,
        kill=st.booleans(),
    )
    def work(self, *, place: int, act: str, stop: int, kill: bool) -> None:
        if self._free(place):
            self._note(place, self._writer(place).tell(act, stop=stop, kill=kill), set())

    @precondition(lambda self: any(writer and writer.held for writer in self.writers))
    @rule(place=WHERE)
    def resume(self, place: int) -> None:
        writer = self.writers[place]
        if writer and writer.held:
            self._note(place, writer.resume(), self.waiting.pop(writer, set()))

    @rule(place=WHERE)
    def kill(self, place: int) -> None:
        if writer := self.writers[place]:
            writer.kill()
            self.writers[place] = None
            self.unanswered.append(self.waiting.pop(writer, set()))

    def _note(self, place: int, answer: str, request: set[str]) -> None:
        writer = self.writers[place]
        assert writer is not None
        if answer == DONE:
            self.acknowledged |= request
        elif writer.held:
            self.waiting[writer] = request
        else:
            self.writers[place] = None
            self.unanswered.append(request)

    @invariant()
    def readers_are_right(self) -> None:
        """See no row twice, all that was seen before, nothing unheard of; find whatever was acknowledged."""
        if not hasattr(self, "folder"):
            return
        found = read_ids(self.folder)
        assert len(found) == len(set(found))
        assert self.seen <= set(found)
        assert set(found) <= self.acknowledged.union(*self.unanswered, *self.waiting.values())
        assert Log(self.folder).find(self.acknowledged, MODEL.target).keys() == self.acknowledged
        self.seen = set(found)

    def teardown(self) -> None:
        """Kill all that lives, recover, and find each acknowledged row exactly once, with any reader."""
        if not hasattr(self, "folder"):
            return
        for place in range(WRITERS):
            self.kill(place)
        log = Log(self.folder)
        log.recover()
        Maintenance(log, Log(self.folder / "labels"), Retention(), 60.0).once()
        found = self._with_pandas()
        assert sorted(found) == sorted(read_ids(self.folder))
        assert len(found) == len(set(found))
        assert self.acknowledged <= set(found)
        assert all(len(request & set(found)) in (0, len(request)) for request in self.unanswered)
        assert list_journals(self.folder) == []
        assert list(self.folder.glob("*.tmp")) == []
        shutil.rmtree(self.folder)

    def _with_pandas(self) -> list[str]:
        if not any(self.folder.glob("part-*")):
            return []
        return list(pd.read_parquet(self.folder, columns=["prediction_id"])["prediction_id"])


def _memory() -> str | None:
    """Return a folder in memory if there is one: a kill needs no disk, and syncing costs nothing there."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


TestPredictionLog = pytest.mark.timeout(0 if "FUZZ_CASES" in os.environ else 300)(PredictionLog.TestCase)
TestPredictionLog.settings = settings(
    max_examples=int(os.environ.get("FUZZ_CASES", "1000")) // 100,
    stateful_step_count=25,
    derandomize="FUZZ_CASES" not in os.environ,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
