"""The servers of the Procfile with AUTH=true, without a password, with a wrong one and with the right one."""

from collections.abc import Iterator
from contextlib import ExitStack

import onnx
import pytest
import requests

from api.registry import RegistryUnusableError, champion_release, download
from flows.clients.mlflow import MLflow
from flows.registry import versions
from monitoring.contract.names import CHAMPION
from scripts.stack import PORTS, ROOT, Stack
from tests.processes import answers, eventually, free_port, process
from tests.unit.api_fixtures import onnx_model
from tests.unit.models import GENRES

pytestmark = pytest.mark.timeout(600)

HEALTH = {"prefect": "/api/health", "mlflow": "/health"}
ASKED = ("prometheus", "alertmanager", *HEALTH)
RUNS = "/api/flow_runs/filter"
EXPERIMENT = "/api/2.0/mlflow/experiments/get?experiment_id=0"
DOORS = [  # service, method and path, user
    pytest.param("prometheus", ("GET", "/api/v1/query?query=up"), "driftloop", "prometheus_password", id="Prometheus"),
    pytest.param("alertmanager", ("GET", "/api/v2/alerts"), "driftloop", "alertmanager_password", id="Alertmanager"),
    pytest.param("prefect", ("POST", RUNS), "driftloop", "prefect_password", id="Prefect"),
    pytest.param("mlflow", ("GET", EXPERIMENT), "admin", "mlflow_admin_password", id="MLflow"),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("locked")
    stack = Stack(folder / "data", folder / "state", {name: free_port() for name in PORTS}, pace=15, auth=True)
    stack.prepare()
    procfile = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    logs = {name: folder / f"{name}.log" for name in ASKED}
    with ExitStack() as running:
        children = {
            name: running.enter_context(process(["sh", "-c", procfile[name]], logs[name], stack.environment()))
            for name in ASKED
        }
        for name, path in HEALTH.items():
            eventually(f"{name}'s start", answers(f"{stack.url(name)}{path}", children[name], logs[name]), 240)
        yield stack


def password(stack: Stack, name: str) -> str:
    return (stack.secrets / name).read_text()


@pytest.mark.parametrize(("service", "asked", "user", "secret"), DOORS)
def test_a_door_opens_for_its_password_alone(
    stack: Stack, service: str, asked: tuple[str, str], user: str, secret: str
) -> None:
    """Without a login, with a wrong password and with another user it is 401."""
    right = password(stack, secret)
    logins = [None, (user, "wrong"), (user, password(stack, "api_key")), ("somebody", right), (user, right)]
    method, path = asked
    url = f"{stack.url(service)}{path}"
    answered = [requests.request(method, url, json={}, auth=login, timeout=30).status_code for login in logins]
    assert answered == [401, 401, 401, 401, 200]


def test_the_servers_know_each_others_passwords(stack: Stack) -> None:
    """Prometheus scrapes itself, Alertmanager and Prefect, and its alerts arrive."""

    def up() -> bool:
        login = ("driftloop", password(stack, "prometheus_password"))
        url = f"{stack.url('prometheus')}/api/v1/query?query=up==1"
        found = requests.get(url, auth=login, timeout=10).json()["data"]["result"]
        return {"prometheus", "alertmanager", "prefect"} <= {series["metric"]["job"] for series in found}

    def arrived() -> bool:
        login = ("driftloop", password(stack, "alertmanager_password"))
        alerts = requests.get(f"{stack.url('alertmanager')}/api/v2/alerts", auth=login, timeout=10).json()
        return "Watchdog" in {alert["labels"]["alertname"] for alert in alerts}

    eventually("the targets to be up", up, 60)
    eventually("an alert to arrive", arrived, 60)


@pytest.mark.filterwarnings("ignore:.*type hint:UserWarning")  # MLflow's, of its own code
def test_accounts_read_or_write_the_registry(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flows register and promote; the API reads what is champion, or that there is none, and moves no alias."""
    url, model = stack.url("mlflow"), GENRES.model
    api, flows, trigger = ((name, password(stack, f"mlflow_{name}_password")) for name in ("api", "flows", "trigger"))
    assert champion_release(url, model.name, api) is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", flows[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", flows[1])
    assert versions.version_of(model.name, CHAMPION) is None
    content = onnx.load_from_string(onnx_model(model.features, model.categories))
    made = versions.register(content, model, parameters={}, metrics={"accuracy": 1.0}, tags={"origin": "bootstrap"})
    versions.promote(model.name, made.version, None)
    assert versions.version_of(model.name, CHAMPION) == made.version
    release = champion_release(url, model.name, api)
    assert release is not None
    assert download(url, model.name, release, api) == content.SerializeToString()
    assert MLflow(url, trigger).run_metrics(made.run_id) == {"accuracy": 1.0}
    alias = {"name": model.name, "alias": CHAMPION, "version": made.version}
    moves = [
        requests.post(f"{url}/api/2.0/mlflow/registered-models/alias", json=alias, auth=login, timeout=30).status_code
        for login in (None, api, trigger, flows)
    ]
    assert moves == [401, 403, 403, 200]
    for path in ("registered-models/create", "experiments/create", "runs/create"):
        asked = {"name": "theirs", "experiment_id": "0"}
        for reader in (api, trigger):  # MLflow lets any account make what is then its own
            refused = requests.post(f"{url}/api/2.0/mlflow/{path}", json=asked, auth=reader, timeout=30)
            assert (refused.status_code, refused.text) == (403, f"The account {reader[0]} only reads.\n")
    bearer = {"Authorization": f"Bearer {flows[1]}"}
    assert requests.get(f"{url}{EXPERIMENT}", headers=bearer, timeout=30).status_code == 401
    with pytest.raises(RegistryUnusableError, match="401"):
        champion_release(url, model.name)


def test_secrets_are_private(stack: Stack) -> None:
    """Nobody but this account reads them."""
    modes = {path.name: path.stat().st_mode & 0o777 for path in [stack.secrets, *stack.secrets.iterdir()]}
    assert modes.pop("secrets") == 0o700
    assert set(modes.values()) == {0o600}
