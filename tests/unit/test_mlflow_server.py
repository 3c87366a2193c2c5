"""MLflow's databases: whole or not there."""

import sqlite3
from pathlib import Path

import pytest

from flows.mlflow_server import SQLITE, make_database, make_tables, value_of

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's, not ours


def tables_of(path: Path) -> set[str]:
    with sqlite3.connect(path) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_a_start_that_is_cut_off_leaves_no_half_of_a_database(tmp_path: Path) -> None:
    """The next start makes it; once it is there nobody makes it again."""
    path = tmp_path / "mlflow.db"

    def cut_off(uri: str) -> None:
        with sqlite3.connect(uri.removeprefix(SQLITE)) as connection:
            connection.execute("CREATE TABLE metrics (step INT)")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_database(f"{SQLITE}{path}", cut_off)
    assert not path.exists()
    make_database(f"{SQLITE}{path}", make_tables)
    assert {"alembic_version", "experiments", "metrics", "registered_models"} <= tables_of(path)
    assert list(tmp_path.iterdir()) == [path]
    make_database(f"{SQLITE}{path}", cut_off)


@pytest.mark.parametrize("uri", ["postgresql+psycopg://mlflow@postgres/mlflow", ""])
def test_other_databases_are_the_servers(uri: str) -> None:
    make_database(uri, lambda _: pytest.fail("made"))


@pytest.mark.parametrize(
    ("options", "found"),
    [(["--port", "1", "--uri", "a=b"], "a=b"), (["--uri=a=b", "--port=1"], "a=b"), (["--port", "1"], "")],
)
def test_an_option_is_found_as_it_is_written(options: list[str], found: str) -> None:
    assert value_of(options, "--uri") == found
