"""A config that gains or loses a feature: new parts, nulls for what a part lacks, never a crash."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from api.log.maintenance import Maintenance
from api.log.retention import Retention
from monitoring.contract.config import Model
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.parts import list_parts
from tests.unit.log_fixtures import ALL, FORM, MODEL, WIDER, Log, ids, line, rows

LOUD = MODEL.model_copy(update={"features": (*MODEL.features, "loudness")})
FORMS = pytest.mark.parametrize(
    ("before", "after"), [pytest.param(FORM, WIDER, id="gained"), pytest.param(WIDER, FORM, id="lost")]
)


def seen(data: Path, model: Model) -> pd.DataFrame:
    found = read_rows(Layout(data), model, ALL)
    assert found.unreadable == ()
    return found.table.to_pandas().set_index("prediction_id")


@FORMS
@pytest.mark.parametrize("merged", [False, True])
def test_both_configs_read_all_rows(tmp_path: Path, before: object, after: object, *, merged: bool) -> None:
    """Before and after a merge, readers of either config see each row once; what a part lacks is null."""
    folder = tmp_path / "current.parquet"
    sent = {before: [], after: []}
    for form in (before, after):
        log = Log(folder, form=form)
        for _ in range(20):
            some = rows(1, form=form)
            log.append(some)
            log.seal()
            sent[form] += some
    if merged:
        for _ in range(2):
            Maintenance(log, Log(tmp_path / "labels"), Retention(), 60.0).once()
        assert len(list_parts(folder)[0]) < 15
    everything = ids(sent[before]) | ids(sent[after])
    assert set(seen(tmp_path, MODEL).index) == everything
    loudness = seen(tmp_path, LOUD)["loudness"]
    assert loudness.index.is_unique
    assert set(loudness.index) == everything
    assert set(loudness[loudness.notna()].index) == ids(sent[WIDER])
    assert Log(folder).find(everything, MODEL.target).keys() == everything
    assert set(pd.read_parquet(folder)["prediction_id"]) == everything
    schemas = {tuple(pq.read_schema(part.path).names) for part in list_parts(folder)[0]}
    assert schemas == {tuple(FORM.schema.names), tuple(WIDER.schema.names)}


@FORMS
def test_a_journal_of_another_config_is_recovered_as_it_was_written(
    tmp_path: Path, before: object, after: object
) -> None:
    """A worker dies, the config changes, another worker seals what it left: with the columns that it had."""
    folder = tmp_path / "current.parquet"
    dead, some = Log(folder, form=before), rows(3, form=before)
    dead.append(some)
    dead._journal.close()
    new = Log(folder, form=after)
    new.append(more := rows(2, form=after))
    assert new.find(ids(some) | ids(more), MODEL.target).keys() == ids(some) | ids(more)
    new.recover()
    new.seal()
    loudness = seen(tmp_path, LOUD)["loudness"]
    wide = ids(some) if before is WIDER else ids(more)
    assert set(loudness[loudness.notna()].index) == wide
    assert set(loudness.index) == ids(some) | ids(more)


def test_a_journal_that_names_no_columns_has_this_config_s(tmp_path: Path) -> None:
    """Of a process that died before its first line was whole, or of a version that wrote none."""
    folder = tmp_path / "current.parquet"
    folder.mkdir()
    some = rows(2)
    (folder / "_journal-old-1.jsonl").write_bytes(line(some))
    (folder / "_journal-old-2.jsonl").write_bytes(b'{"columns": [["pred')
    Log(folder).recover()
    assert set(seen(tmp_path, MODEL).index) == ids(some)
