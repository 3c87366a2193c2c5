"""Every door of the stack in containers, without a password, with a wrong one and with the right one."""

from typing import Any

import pytest
import requests

from tests.containers.compose import Compose

pytestmark = pytest.mark.timeout(1200)

REGISTRY = "http://127.0.0.1:5000/api/2.0/mlflow"
DOORS = {  # what each port says to who has no password, by service: its secret's user and its closed addresses
    "prometheus": ("driftloop", ["http://127.0.0.1:9090/", "http://127.0.0.1:9090/api/v1/query?query=up"]),
    "alertmanager": ("driftloop", ["http://127.0.0.1:9093/", "http://127.0.0.1:9093/api/v2/alerts"]),
    "monitor": ("driftloop", ["http://127.0.0.1:8000/", "http://127.0.0.1:8000/reports"]),
}
OPEN = [  # what says how a service is, and its figures
    "http://127.0.0.1:5000/health",
    "http://127.0.0.1:4200/api/health",
    "http://127.0.0.1:8000/metrics",
    "http://127.0.0.1:8000/health",
    "http://127.0.0.1:5050/metrics",
    "http://127.0.0.1:5080/metrics",
]


def status(url: str, login: tuple[str, str] | None, **options: Any) -> int:
    return requests.request(options.pop("method", "GET"), url, auth=login, timeout=10, **options).status_code


@pytest.mark.parametrize("service", list(DOORS))
def test_a_door_opens_for_its_password_alone(stack: Compose, service: str) -> None:
    """Without a password and with another service's it is 401; the right one opens."""
    user, urls = DOORS[service]
    right, other = stack.login(service), stack.login("prefect-server", secret="prefect_password")
    assert right[0] == user
    for url in urls:
        answers = [status(url, login) for login in (None, (user, "wrong"), other, ("admin", right[1]), right)]
        assert answers == [401, 401, 401, 401, 200], url


def test_what_machines_ask_is_open(stack: Compose) -> None:
    """Health and figures need no password."""
    assert [status(url, None) for url in OPEN] == [200] * len(OPEN)


def test_nobody_makes_alerts_or_silences_without_the_password(stack: Compose) -> None:
    """An alert that asks for a retraining is refused, from the host and from a container beside it."""
    url, alert = "http://127.0.0.1:9093/api/v2/alerts", [{"labels": {"alertname": "ModelDrift", "action": "retrain"}}]
    assert [status(url, login, method="POST", json=alert) for login in (None, ("driftloop", "wrong"))] == [401, 401]
    code = f"import requests; print(requests.post({url!r}.replace('127.0.0.1', 'alertmanager'), json=[]).status_code)"
    assert stack.python("trigger", code) == "401"


def test_mlflows_accounts_may_do_what_they_need(stack: Compose) -> None:
    """Each account reads the registry, and nobody unnamed; the flows alone move the alias, and none makes accounts."""
    named = {"name": "genre-classifier", "alias": "champion"}
    flows = stack.login("prefect-runner", "flows", "mlflow_flows_password")
    trigger = stack.login("trigger", "trigger", "mlflow_trigger_password")
    admin = stack.login("mlflow", "admin", "mlflow_admin_password")
    wrong = ("flows", stack.mlflow_login[1])
    logins = [None, ("api", "wrong"), wrong, stack.mlflow_login, trigger, flows, admin]
    reads = [status(f"{REGISTRY}/registered-models/alias", login, params=named) for login in logins]
    assert reads == [401, 401, 401, 200, 200, 200, 200]
    moved = {**named, "version": stack.champion()}
    moves = [
        status(f"{REGISTRY}/registered-models/alias", login, method="POST", json=moved)
        for login in (None, stack.mlflow_login, trigger, flows)
    ]
    assert moves == [401, 403, 403, 200]
    accounts = "http://127.0.0.1:5000/api/2.0/mlflow/users/create"
    new = {"username": "somebody", "password": "long-enough-for-it"}
    made = [status(accounts, login, method="POST", json=new) for login in (None, stack.mlflow_login, flows)]
    assert made == [401, 403, 403]


def test_each_database_has_its_user(stack: Compose) -> None:
    """MLflow's user enters its own database and not Prefect's, and neither user is the one that may do all."""
    code = """
import os, psycopg
from pathlib import Path
secret = Path("/run/secrets/mlflow_database_password").read_text()
for user, database in (("mlflow", "mlflow"), ("mlflow", "prefect"), ("prefect", "prefect"), ("driftloop", "mlflow")):
    try:
        with psycopg.connect(host="postgres", user=user, dbname=database, password=secret) as connection:
            print("superuser" if connection.execute("show is_superuser").fetchone()[0] == "on" else "enters")
    except psycopg.OperationalError as error:
        print("permission" if "permission denied" in str(error) else "password" if "authentic" in str(error) else error)
"""
    assert stack.python("mlflow", code).split() == ["enters", "permission", "password", "password"]
    for database in ("mlflow", "prefect"):
        assert owners(stack, database) == [database]


def owners(stack: Compose, database: str, change: str = "") -> list[str]:
    """Name the owners of what is in a database, after a change by the user who may do all."""
    question = (
        "select distinct relowner::regrole from pg_class where relnamespace = 'public'::regnamespace and relkind <> 'i'"
    )
    done = stack.execute("postgres", "psql", "-qU", "driftloop", "-At", database, "-c", f"{change} {question}")
    return sorted(done.stdout.split())


def test_what_one_user_had_before_is_handed_over(stack: Compose) -> None:
    """Tables, sequences and types that were made when one user had all, or by a restore, get the database's user."""
    made = "create table of_before (id serial primary key); create type kind_of_before as enum ('a');"
    assert owners(stack, "mlflow", made) == ["driftloop", "mlflow"]
    stack.compose("run", "--rm", "-T", "databases")
    assert owners(stack, "mlflow") == ["mlflow"]
    assert owners(stack, "mlflow", "set role mlflow; drop table of_before; drop type kind_of_before; reset role;")


def test_a_named_key_is_given_and_taken_back_while_the_api_runs(stack: Compose) -> None:
    """The line that the command prints opens its scope from the next request on, and no longer once it is gone."""
    said = stack.execute("api", "python", "-m", "api.keys", "labeller", "feedback").stdout.splitlines()
    key, line = (one.partition(": ")[2].strip() for one in said)
    given = {"Authorization": f"Bearer {key}"}

    def keys(text: str) -> list[int]:
        code = "import sys; from pathlib import Path; Path('/services/api/api_keys').write_text(sys.argv[1])"
        run = ("run", "--rm", "--no-deps", "-T", "--entrypoint", "python", "secrets", "-c", code, text)
        stack.compose(*run)
        posts = (("predict", {"features": {"mfcc_1": 1.0}}), ("feedback", {"no": "label"}))
        return [
            requests.post(f"http://127.0.0.1:5050/{path}", json=body, headers=given, timeout=10).status_code
            for path, body in posts
        ]

    assert keys(line + "\n") == [403, 422]
    assert '"key": "labeller"' in stack.compose("logs", "--tail", "50", "api").stdout
    assert keys("") == [401, 401]
