"""Serve MLflow with accounts: `python flows/mlflow_server.py FOLDER …`, and the options of `mlflow server`.

Each account's password is the content of FOLDER/mlflow_<account>_password; one that has changed holds from this start
on. Every account may read everything; `flows` registers models and moves aliases, and `admin` may do all; `api` and
`trigger` make nothing either (flows/mlflow_accounts.py). Accounts that somebody has added are left alone. Reads the
same file (MLFLOW_AUTH_CONFIG_PATH) as the server.
"""

import sys
from pathlib import Path

from mlflow.cli import cli
from mlflow.server.auth.config import read_auth_config
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

ADMIN = "admin"
GRANTS = {  # by account: on all resources of a type; the alias `previous` is deleted too, which takes MANAGE
    ADMIN: {},
    "flows": {"experiment": "EDIT", "registered_model": "MANAGE"},
    "api": {},
    "trigger": {},
}


def keep_accounts(folder: Path) -> None:
    """Make accounts that are missing, and give each its password and its grants."""
    store = SqlAlchemyStore()
    store.init_db(read_auth_config().database_uri)
    for account, grants in GRANTS.items():
        password = (folder / f"mlflow_{account}_password").read_text(encoding="ascii").strip()
        if not store.has_user(account):
            store.create_user(account, password, is_admin=account == ADMIN)
        elif not store.authenticate_user(account, password):
            store.update_user(account, password=password)
        for kind, permission in grants.items():
            store.grant_user_permission(account, kind, "*", permission)


if __name__ == "__main__":
    keep_accounts(Path(sys.argv[1]))
    cli(["server", *sys.argv[2:]])
