"""Rows and targets by their ids, and the time that an id tells."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitoring.contract.layout import Layout
from monitoring.contract.prediction_ids import canonical_id, canonical_ids, id_milliseconds
from monitoring.contract.row_lookup import find_rows, find_targets
from tests.unit.contract_fixtures import T0, log_table, new_id, write_table


def test_ids_are_found_with_their_target(layout: Layout) -> None:
    """find_targets tells which ids are in the folder, each with its target; unknown and foreign ids are left out."""
    table = log_table([T0 + t * 700 for t in range(20)], actual=pa.array([None, "a"] * 10))
    write_table(layout.current, table.slice(0, 12))
    write_table(layout.current, table.slice(12))
    ids = table["prediction_id"].to_pylist()
    asked = [ids[0], ids[13], ids[19], new_id(T0), "no uuid", "0192e4a0-0000-4000-8000-000000000000"]
    assert find_targets(layout.current, asked, "actual") == {ids[0]: None, ids[13]: "a", ids[19]: "a"}
    assert find_targets(layout.labels, asked, "actual") == {}


def test_rows_are_found_by_ids_of_any_kind(layout: Layout) -> None:
    """find_rows gives the asked columns, also of ids that tell no time; what a part does not have is null."""
    table = log_table([T0 + t * 700 for t in range(20)], actual=pa.array([None, "a"] * 10))
    foreign = table.slice(0, 2).set_column(0, table.schema.field(0), pa.array(["row 1", "row 2"]))
    write_table(layout.current, table.slice(0, 12))
    write_table(layout.current, table.slice(12))
    pq.write_table(foreign.drop_columns(["actual"]), layout.current / "from-elsewhere.parquet")
    schema = pa.schema([table.schema.field(name) for name in ("prediction_id", "timestamp", "actual")])
    ids = table["prediction_id"].to_pylist()
    found = find_rows(layout.current, ["row 2", ids[1], ids[19], new_id(T0), "row 3"], schema)
    assert found.schema.names == schema.names
    assert {row["prediction_id"]: row["actual"] for row in found.to_pylist()} == {
        "row 2": None,
        ids[1]: "a",
        ids[19]: "a",
    }
    assert not len(find_rows(layout.current, [], schema))


def test_rows_are_found_whose_ids_are_in_capitals(layout: Layout) -> None:
    """A foreign part may spell UUIDs as it likes, row group by row group; those that are asked for are found."""
    ids = [f"{n:08x}-abcd-4abc-8abc-abcdefabcdef" for n in range(0xA0, 0xB0)]
    spelt = [i.upper() if n % 3 else i.title() for n, i in enumerate(ids)]
    rows = log_table([T0 + n for n in range(16)], prediction_id=spelt)
    layout.current.mkdir()
    pq.write_table(rows, layout.current / "from-elsewhere.parquet", row_group_size=2)
    for one in ids:
        assert find_rows(layout.current, [one], rows.schema)["prediction_id"].to_pylist() == [one]


@pytest.mark.parametrize(
    ("spelt", "compared"),
    [
        pytest.param("01A208AF-B4E3-79A1-852A-D52998F0ED41", "01a208af-b4e3-79a1-852a-d52998f0ed41", id="capitals"),
        pytest.param("01a208af-B4E3-79a1-852A-d52998f0eD41", "01a208af-b4e3-79a1-852a-d52998f0ed41", id="both"),
        pytest.param("01A208AF-B4E3-79A1-852A-D52998F0ED4", "01A208AF-B4E3-79A1-852A-D52998F0ED4", id="too short"),
        pytest.param("01A208AF-B4E3-79A1-852A-D52998F0ED41\n", "01A208AF-B4E3-79A1-852A-D52998F0ED41\n", id="line end"),
        pytest.param("X1A208AF-B4E3-79A1-852A-D52998F0ED41", "X1A208AF-B4E3-79A1-852A-D52998F0ED41", id="no UUID"),
        pytest.param("Größe-ÄÖ", "Größe-ÄÖ", id="text"),
        pytest.param("", "", id="empty"),
    ],
)
def test_only_a_uuid_is_the_same_in_capitals(spelt: str, compared: str) -> None:
    """One id and a column of them are spelt alike; a missing id stays missing."""
    assert canonical_id(spelt) == compared
    column = pa.chunked_array([[spelt, None], [], [compared, "Order 1"]], pa.string())
    assert canonical_ids(column).to_pylist() == [compared, None, compared, "Order 1"]


def test_id_tells_its_time() -> None:
    """Only a version 7 UUID has a time."""
    assert id_milliseconds(new_id(T0 + 999)) == T0 // 1000
    assert id_milliseconds("0192e4a0-0000-4000-8000-000000000000") is None
    assert id_milliseconds("") is None
