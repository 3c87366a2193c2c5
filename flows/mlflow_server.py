"""Serve MLflow, its databases made whole or not at all, and with accounts: `python flows/mlflow_server.py [FOLDER] …`.

What follows are the options of `mlflow server`. With a FOLDER each account's password is the content of its
mlflow_<account>_password; one that has changed holds from this start on. Every account may read everything; `flows`
registers models and moves aliases, and `admin` may do all; `api` and `trigger` make nothing either
(flows/mlflow_accounts.py). Accounts that somebody has added are left alone. Reads the same file
(MLFLOW_AUTH_CONFIG_PATH) as the server.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

SQLITE = "sqlite:///"
ADMIN = "admin"
GRANTS = {  # by account: on all resources of a type; the alias `previous` is deleted too, which takes MANAGE
    ADMIN: {},
    "flows": {"experiment": "EDIT", "registered_model": "MANAGE"},
    "api": {},
    "trigger": {},
}


def make_database(uri: str, make: Callable[[str], object]) -> None:
    """Make an SQLite database in another place, and put it in its own when it is whole; leave others to the server.

    SQLite keeps each step of MLflow's first migrations as it is done, and none is done twice: after one that was killed
    in their midst no start would succeed any more. PostgreSQL keeps all of them or none.
    """
    path = Path(uri.removeprefix(SQLITE))
    if not uri.startswith(SQLITE) or path.exists():
        return
    begun = path.with_name(f"_{path.name}")
    for left in path.parent.glob(f"{begun.name}*"):  # with its journal
        left.unlink()
    make(f"{SQLITE}{begun}")
    begun.rename(path)


def make_tables(uri: str) -> None:
    """Make the tables of experiments, runs and models, as the server would."""
    from mlflow.store.db.utils import (  # noqa: PLC0415 - at a first start alone
        _initialize_tables,
        create_sqlalchemy_engine_with_retry,
    )

    engine = create_sqlalchemy_engine_with_retry(uri)
    _initialize_tables(engine)
    engine.dispose()


def keep_accounts(folder: Path) -> None:
    """Make accounts that are missing, and give each its password and its grants."""
    from mlflow.server.auth.config import read_auth_config  # noqa: PLC0415 - the app of accounts alone needs these
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415

    def make(uri: str) -> None:
        store = SqlAlchemyStore()
        store.init_db(uri)
        store.engine.dispose()

    database = read_auth_config().database_uri
    make_database(database, make)
    store = SqlAlchemyStore()
    store.init_db(database)
    for account, grants in GRANTS.items():
        password = (folder / f"mlflow_{account}_password").read_text(encoding="ascii").strip()
        if not store.has_user(account):
            store.create_user(account, password, is_admin=account == ADMIN)
        elif not store.authenticate_user(account, password):
            store.update_user(account, password=password)
        for kind, permission in grants.items():
            store.grant_user_permission(account, kind, "*", permission)


def value_of(options: Sequence[str], name: str) -> str:
    """Return what follows an option, after `=` or as the next word; "" if it is not there."""
    for given, following in zip(options, [*options[1:], ""], strict=True):
        key, equals, value = given.partition("=")
        if key == name:
            return value if equals else following
    return ""


def main(arguments: Sequence[str]) -> None:
    """Prepare the databases, and serve until told to stop."""
    from mlflow.cli import cli  # noqa: PLC0415 - takes seconds, and warns

    options = [*arguments]
    folder = None if options[0].startswith("-") else Path(options.pop(0))
    make_database(value_of(options, "--backend-store-uri"), make_tables)
    if folder is not None:
        keep_accounts(folder)
    cli(["server", *options])


if __name__ == "__main__":
    main(sys.argv[1:])
