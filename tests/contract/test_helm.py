"""The Helm chart: rendered and linted by Helm's library, and held against Kubernetes' schemas and the repository."""

import base64
import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import requests
import yaml

from scripts.chart import CHART, files, in_namespace, rules_in_namespace
from scripts.mixin import config_maps, rule_files
from scripts.prometheus_tools import find_tools
from tests.contract.promql import metrics_in, run
from tests.contract.test_settings_docs import documented
from tests.processes import ROOT, QuietHandler, answers, eventually, free_ports, process, serving

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
HAPROXY = shutil.which("haproxy")
NAMESPACE = "ml"
STORAGE = {"objectStorage": {"uri": "s3://bucket/rows?region=eu-central-1", "existingSecret": "storage"}}
EXTERNAL = {
    "mlflow": {"enabled": False, "external": {"url": "https://mlflow.example.com:8443", "existingSecret": "accounts"}},
    "prefect": {"enabled": False, "external": {"url": "https://prefect.example.com/api", "existingSecret": "prefect"}},
}
DATABASE = {"host": "db.example.com", "existingSecret": "database", "sslMode": "verify-full", "caSecret": "ca"}
CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "object storage": {"data": STORAGE, "api": {"replicas": 3}},
    "external services": EXTERNAL,
    "external database": {"postgresql": {"enabled": False, "external": DATABASE}},
    "existing secrets": {
        "secrets": {"existingSecret": "ours"},
        "existingConfigMap": "our-config",
        "monitoring": {"prometheus": {"existingSecret": "prometheus"}},
        "data": {"volume": {"existingClaim": "rows"}},
    },
    "without an operator": {
        "monitoring": {
            name: {"enabled": False} for name in ("serviceMonitors", "rules", "dashboards", "alertmanagerConfig")
        },
        "networkPolicies": {"enabled": False},
        "podDisruptionBudgets": {"enabled": False},
    },
    "everything": {
        "image": {"registry": "registry.example.com/team", "tag": "1.2.3", "pullSecrets": ["pull"]},
        "data": STORAGE,
        "api": {"replicas": 10, "settings": {"PREDICTION_LOG_KEEP": "90d", "PREDICTION_LOG_KEEP_MB": 1000}},
        "simulator": {"enabled": True},
        "trigger": {"forward": True},
        "mlflow": {"allowedHosts": ["mlflow.example.com"]},
        "serviceAccounts": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/rows"}},
        "monitoring": {"dashboards": {"annotations": {"grafana_folder": "ML"}}},
        "networkPolicies": {
            name: [{"ipBlock": {"cidr": "10.0.0.0/8"}}] for name in ("clients", "pages", "outside")
        },
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "ml", "operator": "Exists"}],
        "priorityClassName": "high",
    },
}  # fmt: skip
EACH_CASE = pytest.mark.parametrize("case", [pytest.param(name, id=name) for name in CASES])
OURS = {"ServiceMonitor": "v1", "PrometheusRule": "v1", "AlertmanagerConfig": "v1alpha1"}  # the operator's
# What PostgreSQL and Prefect's server are told about themselves, which docs/settings.md leaves to where it stands.
THEIRS = re.compile("POSTGRES_.*|PG[A-Z]+|PREFECT_SERVER_.*")

Resource = dict[str, Any]


@cache
def rendered(case: str) -> list[Resource]:
    """Return what a case installs."""
    with helm.Chart.load(CHART) as chart:
        texts = chart.render(CASES[case], name="driftloop", namespace=NAMESPACE)
    files = [text for name, text in texts.items() if not name.endswith("NOTES.txt")]
    return [resource for text in files for resource in yaml.safe_load_all(text) if resource]


def of_kind(case: str, *kinds: str) -> dict[str, Resource]:
    return {one["metadata"]["name"]: one for one in rendered(case) if one["kind"] in kinds}


def pods(case: str) -> dict[str, Resource]:
    """Return each pod's template, by the name of what makes it."""
    makers = of_kind(case, "Deployment", "StatefulSet", "Job")
    return {name: maker["spec"]["template"] for name, maker in makers.items()}


def containers(case: str) -> Iterator[tuple[str, Resource]]:
    """Yield each container by its component, which is the service's name in Compose."""
    for pod in pods(case).values():
        (container,) = pod["spec"]["containers"]
        yield pod["metadata"]["labels"]["app.kubernetes.io/component"], container


@pytest.fixture(scope="module", autouse=True)
def schemas_are_read_once() -> Iterator[None]:
    """The package reads all of Kubernetes' definitions anew for each resource."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubernetes_validate.utils, "schema_contents", cache(kubernetes_validate.utils.schema_contents))
        yield


def environment(container: Resource) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container["env"]}


@EACH_CASE
def test_helm_and_kubernetes_take_it(case: str) -> None:
    """Helm's own lint says nothing; each resource fits Kubernetes' schema, without a field that it does not know."""
    said = helm.lint(CHART, CASES[case], strict=True)
    assert [one["error"] for one in said["messages"]] == ["icon is recommended"]
    names = [(one["kind"], one["metadata"]["name"]) for one in rendered(case)]
    assert len(names) == len(set(names))
    for resource in rendered(case):
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", resource["metadata"]["name"])
        if resource["kind"] in OURS:
            assert resource["apiVersion"] == f"monitoring.coreos.com/{OURS[resource['kind']]}"
        else:
            kubernetes_validate.validate(resource, "1.37", strict=True)


@EACH_CASE
def test_every_container_has_the_least_rights(case: str) -> None:
    """As in Compose: read-only, without capabilities, not root, with limits; and without a token of the cluster's."""
    for pod in pods(case).values():
        spec = pod["spec"]
        assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
        user = spec["securityContext"]
        assert (user["runAsNonRoot"], user["runAsUser"], user["runAsGroup"]) == (True, 10001, 10001)
        assert user["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not any("hostPath" in volume for volume in spec["volumes"])
    for component, container in containers(case):
        assert container["securityContext"] == {
            "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        limits, service = container["resources"]["limits"], COMPOSE[component]
        assert _megabytes(limits["memory"]) == _megabytes(service["mem_limit"]), component
        assert _cores(limits["cpu"]) == service["cpus"], component
        assert COMPOSE[component]["user"] == "10001:10001"
    for account in of_kind(case, "ServiceAccount").values():
        assert account["automountServiceAccountToken"] is False


def _megabytes(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([MGmg])i?", text).groups()  # type: ignore[union-attr]
    return int(number) * {"m": 1, "g": 1024}[unit.lower()]


def _cores(text: str) -> float:
    return int(text[:-1]) / 1000 if text.endswith("m") else float(text)


@EACH_CASE
def test_images_are_those_that_compose_builds(case: str) -> None:
    """Each comes from a Dockerfile of ours, by the chart's version; without a registry none is pulled."""
    values = CASES[case].get("image", {"tag": "0.2.0"})
    prefix = f"{values['registry']}/" if "registry" in values else ""
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = re.findall(r"^DRIFTLOOP_VERSION=(.*)$", (ROOT / ".env").read_text(), re.MULTILINE)
    assert [about["appVersion"]] == [about["version"]] == version
    for component, container in containers(case):
        built = {service["image"].partition(":")[0] for service in COMPOSE.values() if "build" in service}
        image = COMPOSE[component]["image"].partition(":")[0]
        assert image in built
        assert container["image"] == f"{prefix}{image}:{values['tag']}"
        assert container["imagePullPolicy"] == ("IfNotPresent" if prefix else "Never")


@EACH_CASE
def test_ports_commands_and_probes_are_those_of_compose(case: str) -> None:
    """A pod is ready when Compose calls it healthy, asked as often. It is ended where it hangs, not while it waits."""
    for component, container in containers(case):
        service = COMPOSE[component]
        ports = {port["containerPort"] for port in container.get("ports", [])}
        published = {int(port.rpartition(":")[2]) for port in service.get("ports", [])}
        assert ports - {8404, 5432} == (published | ({5050} if component == "api" else set()))
        if service.get("restart") == "no":
            continue
        ours, theirs = container["readinessProbe"], service["healthcheck"]
        if (case, component) != ("external services", "prefect-runner"):
            assert _named(ours["exec"]["command"]) == theirs["test"][1:], component
        seconds = [f"{ours['periodSeconds']}s", f"{ours['timeoutSeconds']}s", ours["failureThreshold"]]
        assert seconds == [theirs["interval"], theirs["timeout"], theirs["retries"]]
        if "livenessProbe" in container:
            assert container["livenessProbe"]["exec"] == container["startupProbe"]["exec"]
            assert container["livenessProbe"]["exec"]["command"][-1] in ("/health", "/api/health")
        if case == "default":
            assert _named(container.get("args", [])) == [_compose_argument(one) for one in service.get("command", [])]


def _named(command: list[str]) -> list[str]:
    """Return a command with Compose's names of services, and without the hosts that MLflow answers to."""
    command = [text.replace("/run/secrets/driftloop", "/run/secrets").replace("@driftloop/", "@") for text in command]
    texts = [re.sub(r"driftloop-(mlflow|postgres)(:5432)?(?=[/:]|$)", r"\1", text) for text in command]
    return [re.sub(r"^(--allowed-hosts=).*", r"\1", re.sub("^driftloop:", "proxy:", text)) for text in texts]


def _compose_argument(text: str) -> str:
    return re.sub(r"^(--allowed-hosts=).*", r"\1", text)


@EACH_CASE
def test_variables_are_documented_and_those_of_compose(case: str) -> None:
    """No variable is one that nobody reads, nor stands there twice; Compose's are all there, with its values."""
    for component, container in containers(case):
        given = environment(container)
        assert len(given) == len(container["env"])
        assert {name for name in given if not THEIRS.fullmatch(name)} <= documented().keys(), component
        assert not {name for name in given if re.search("(PASSWORD|TOKEN|SECRET|KEY)S?$", name)}
    if case == "default":
        for component, container in containers(case):
            given, theirs = environment(container), COMPOSE[component].get("environment", {})
            missing = {name for name in theirs.keys() - given.keys() if not str(theirs[name]).startswith("${")}
            assert missing - {"PROMETHEUS_PASSWORD_FILE"} == set()
            files = {name: value for name, value in theirs.items() if str(value).startswith("/run/secrets/")}
            files.pop("PROMETHEUS_PASSWORD_FILE", None)
            assert {name: _named([value])[0] for name, value in given.items() if name in files} == files


def test_compose_s_optional_password_is_given_where_it_is_asked_for() -> None:
    """The one file that a Prometheus of the cluster's may not need."""
    monitor = dict(containers("existing secrets"))["monitor"]
    assert environment(monitor)["PROMETHEUS_PASSWORD_FILE"] == "/run/secrets/driftloop/prometheus_password"
    assert "PROMETHEUS_PASSWORD_FILE" not in environment(dict(containers("default"))["monitor"])


@EACH_CASE
def test_each_pod_reads_the_secrets_that_it_has_in_compose(case: str) -> None:
    """And no other; each key is in the Secret that the chart makes, or in one that the values name.

    They lie in a folder of their own: a cloud's identity is mounted into /run/secrets, too, which cannot be read-only.
    """
    readers = dict(one.split("=", 1) for one in COMPOSE["secrets"]["command"] if "=" in one)
    made = of_kind(case, "Secret")
    for pod in pods(case).values():
        component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
        allowed = {*readers.get(component, "=").split("=")[1].split(","), "prefect_auth"}
        sources = [volume["projected"]["sources"] for volume in pod["spec"]["volumes"] if "projected" in volume]
        for source in (source["secret"] for of in sources for source in of):
            keys = {item["key"] for item in source["items"]}
            assert keys <= allowed
            assert all(item["key"] == item["path"] for item in source["items"])
            assert source["name"] in _secrets_of(CASES[case]) or keys <= made[source["name"]]["data"].keys()
        (container,) = pod["spec"]["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts.get("secrets") == ("/run/secrets/driftloop" if sources else None)
        text = json.dumps([container.get("args"), container["env"], container.get("readinessProbe")])
        named = {*re.findall(r"=(?:\w+:)?@driftloop/(\w+)", text), *re.findall(r"/run/secrets/driftloop/(\w+)", text)}
        assert named <= {item["key"] for of in sources for source in of for item in source["secret"]["items"]}
    for secret in made.values():
        values = {key: base64.b64decode(value) for key, value in secret.get("data", {}).items()}
        assert len({*values.values()} - {b""}) == len([value for value in values.values() if value])
        assert all(len(value) == 48 for key, value in values.items() if key not in ("api_keys", "forward_token"))


def _secrets_of(values: Any) -> set[str]:
    """Return the names of Secrets that values name."""
    if not isinstance(values, dict):
        return set()
    own = {value for key, value in values.items() if key == "existingSecret"}
    return own.union(*map(_secrets_of, values.values()))


@EACH_CASE
def test_who_shares_a_volume_is_on_one_node(case: str) -> None:
    """The locks on a volume are a kernel's. With object storage each API pod has a volume of its own, on any node."""
    stored = "objectStorage" in CASES[case].get("data", {})
    sharing = {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod for pod in pods(case).values()
        if pod["metadata"]["labels"].get("driftloop/volume") == "shared"
    }  # fmt: skip
    assert sharing.keys() == {"monitor", "prefect-runner"} | (set() if stored else {"api"})
    claims = [volume["persistentVolumeClaim"]["claimName"] for pod in sharing.values()
              for volume in pod["spec"]["volumes"] if volume["name"] == "data"]  # fmt: skip
    assert len(claims) == len(sharing)
    assert len({*claims}) == 1
    for pod in sharing.values():
        (term,) = pod["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert term["topologyKey"] == "kubernetes.io/hostname"
        assert term["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    for name, maker in of_kind(case, "Deployment").items():
        alone = name.rpartition("driftloop-")[2] in ("monitor", "prefect-runner", "mlflow", "prefect-server")
        assert (maker["spec"].get("strategy", {}).get("type") == "Recreate") is alone
        assert not alone or maker["spec"]["replicas"] == 1
    for component, container in containers(case):
        if component in ("api", "monitor", "prefect-runner"):
            given = environment(container)
            assert given["DATA_DIR"] == (STORAGE["objectStorage"]["uri"] if stored else "/data")
            assert given.get("LOCAL_DIR") == ("/data" if stored else None)
            assert {"name": "data", "mountPath": "/data"} in container["volumeMounts"]


def test_of_pods_with_a_volume_each_one_alone_merges() -> None:
    """Two would leave rows twice; their volumes stay, for what is in no part yet."""
    makers = of_kind("object storage", "StatefulSet")
    first, more = makers["driftloop-api-first"]["spec"], makers["driftloop-api-more"]["spec"]
    assert (first["replicas"], more["replicas"]) == (1, 2)
    merging = [
        environment(one["template"]["spec"]["containers"][0]).get("PREDICTION_LOG_MERGE") for one in (first, more)
    ]
    assert merging == [None, "off"]
    for one in (first, more):
        assert [claim["metadata"]["name"] for claim in one["volumeClaimTemplates"]] == ["data"]
        assert {*one["persistentVolumeClaimRetentionPolicy"].values()} == {"Retain"}
    (selector,) = [s["spec"]["selector"] for name, s in of_kind("object storage", "Service").items() if "first" in name]
    assert selector.items() <= first["template"]["metadata"]["labels"].items()
    assert not selector.items() <= more["template"]["metadata"]["labels"].items()


@EACH_CASE
def test_the_proxy_is_composes_and_gives_labels_and_others_rows_to_one_pod(case: str, tmp_path: Path) -> None:
    """HAProxy takes the configuration; where pods have a volume each, what one of them knows is asked of that one."""
    text = of_kind(case, "ConfigMap")["driftloop-proxy"]["data"]["haproxy.cfg"]
    stored = "objectStorage" in CASES[case].get("data", {})
    assert ("use_backend first if { path,url_dec /log /log/cloudevents /feedback }" in text) is stored
    service = "driftloop-api.ml.svc.cluster.local"
    assert text.count(f"server-template api 10 {service}:5050") == 2
    assert of_kind(case, "Service")["driftloop-api"]["spec"]["clusterIP"] == "None"
    if HAPROXY is not None:
        (tmp_path / "haproxy.cfg").write_text(text)
        command = [HAPROXY, "-c", "-f", str(tmp_path / "haproxy.cfg")]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env={"API_RATE_LIMIT": "3000"})
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed; the containers have it")
def test_labels_and_others_rows_reach_the_first_pod_however_they_are_written(tmp_path: Path) -> None:
    """By HAProxy itself, before two servers that say their names: the first one, and one of all pods."""
    text = of_kind("object storage", "ConfigMap")["driftloop-proxy"]["data"]["haproxy.cfg"]
    with serving(_Named("first")) as first, serving(_Named("any")) as any_pod:
        text = re.sub(r"server-template first .*", f"server first 127.0.0.1:{first}", text)
        text = re.sub(r"server-template api .*", f"server api 127.0.0.1:{any_pod}", text)
        (port, metrics), log = free_ports(2), tmp_path / "log"
        text = text.replace("bind :5050", f"bind 127.0.0.1:{port}").replace("bind :8404", f"bind 127.0.0.1:{metrics}")
        (tmp_path / "haproxy.cfg").write_text(text.replace("resolvers docker init-addr none", ""))
        command, url = [HAPROXY, "-db", "-f", tmp_path / "haproxy.cfg"], f"http://127.0.0.1:{port}"
        with process(command, log, {**os.environ, "API_RATE_LIMIT": "3000"}) as child:
            eventually("the proxy to pass requests on", answers(f"{url}/ready", child, log), 20)
            for path in ("/log", "/log?x=1", "/%6Cog", "/log/cloudevents", "/feedback", "/feedbac%6B"):
                assert requests.post(f"{url}{path}", timeout=5).text == "first", path
            assert {requests.post(f"{url}{path}", timeout=5).text for path in ("/predict", "/logs", "/model")} == {
                "any"
            }


class _Named(ThreadingHTTPServer):
    """A server that answers with its name."""

    def __init__(self, name: str) -> None:
        class Handler(QuietHandler):
            def do_GET(self) -> None:  # noqa: N802
                self.answer(200, name)

            do_POST = do_GET  # noqa: N815

        super().__init__(("127.0.0.1", 0), Handler)


def test_the_files_are_current(tmp_path: Path) -> None:
    """`make chart` would change nothing: rules, dashboards and configurations are the repository's."""
    kept = {str(path.relative_to(CHART / "files")): path.read_text() for path in (CHART / "files").rglob("*.*")}
    kept["databases"] = (CHART / "files/databases").read_text()
    assert kept == dict(files()), "run `make chart`"


def test_the_rules_are_ours_in_the_releases_namespace(tmp_path: Path) -> None:
    """Without the namespace they are the committed ones; with it promtool takes them, and tests of some pass."""
    rules = {path.stem: yaml.safe_load(path.read_text()) for path in rule_files()}
    with helm.Chart.load(CHART) as chart:
        text = chart.render({"urls": {"grafana": "http://localhost:3000"}}, name="driftloop", namespace=NAMESPACE)
    for resource in yaml.safe_load_all(text["driftloop/templates/rules.yaml"]):
        if resource:
            stem = resource["metadata"]["name"].removeprefix("driftloop-").replace("-", "_")
            assert resource["spec"] == rules_in_namespace(rules[stem], NAMESPACE)
            assert _anywhere(resource["spec"]) == _anywhere(rules.pop(stem))
            (tmp_path / f"{stem}.yml").write_text(yaml.safe_dump(resource["spec"]))
            (tmp_path / f"{stem}_test.yml").write_text(yaml.safe_dump(_tests_in_namespace(stem)))
    assert rules == {}
    promtool = find_tools().promtool
    run(promtool, "check", "rules", *sorted(tmp_path.glob("*_alerts.yml")))
    run(promtool, "test", "rules", *sorted(tmp_path.glob("*_test.yml")))


def _anywhere(rules: Any) -> Any:
    """Return rules without what binds them to the namespace."""
    text = json.dumps(rules).replace(f"{{namespace='{NAMESPACE}'}}", "").replace(f"namespace='{NAMESPACE}',", "")
    text = text.replace(f'{{namespace=\\"{NAMESPACE}\\"}}', "").replace(f'namespace=\\"{NAMESPACE}\\",', "")
    for group in (loaded := json.loads(text))["groups"]:
        for rule in group["rules"]:
            rule.setdefault("labels", {}).pop("namespace", None)
            rule["annotations"] = {name: text.replace("'", '"') for name, text in rule.get("annotations", {}).items()}
    return loaded


def _tests_in_namespace(stem: str) -> Any:
    """Return promtool's first test of some alerts: those of all take a quarter of a minute."""
    tests = yaml.safe_load((ROOT / f"monitoring/alert_rules/{stem}_test.yml").read_text())
    firsts = {test["name"].split()[0]: test for test in reversed(tests["tests"])}
    chosen = [firsts[name] for name in ("ModelDrift", "ModelTurnedBad", "TargetDown") if name in firsts]
    for test in chosen:
        for series in test.get("input_series", []):
            series["series"] = in_namespace(series["series"], NAMESPACE)
        for asked in test["alert_rule_test"]:
            for alert in asked["exp_alerts"]:
                alert["exp_labels"] = {**alert.get("exp_labels", {}), "namespace": NAMESPACE}
    return {**tests, "tests": chosen}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        pytest.param("up == 0", 'up{namespace="ml"} == 0', id="bare"),
        pytest.param('a{b="c d"} > 1', 'a{namespace="ml",b="c d"} > 1', id="with matchers"),
        pytest.param("sum by (le, a) (rate(b[5m]))", 'sum by (le, a) (rate(b{namespace="ml"}[5m]))', id="labels"),
        pytest.param("a:b:c offset 5m or c", 'a:b:c{namespace="ml"} offset 5m or c{namespace="ml"}', id="recorded"),
        pytest.param(
            "time() - a and on () b", 'time() - a{namespace="ml"} and on () b{namespace="ml"}', id="functions"
        ),
        pytest.param("rate(alertmanager_x[5m])", "rate(alertmanager_x[5m])", id="of the cluster's own"),
        pytest.param("vector(1)", "vector(1)", id="none"),
    ],
)
def test_an_expression_in_a_namespace(expression: str, expected: str) -> None:
    """Every series that it names is looked for in the namespace, and nothing else of it is changed."""
    assert in_namespace(expression, "ml") == expected
    assert metrics_in(expected) == metrics_in(expression)


def test_the_dashboards_are_ours() -> None:
    """As `make mixin` makes them, with the label that Grafana's sidecar looks for."""
    ours = {name: text for one in config_maps() for name, text in one["data"].items()}
    maps = [one for name, one in of_kind("default", "ConfigMap").items() if "-dashboard-" in name]
    assert {n: json.loads(t) for one in maps for n, t in one["data"].items()} == {
        n: json.loads(t) for n, t in ours.items()
    }
    assert all(one["metadata"]["labels"]["grafana_dashboard"] == "1" for one in maps)


def test_the_alerts_are_routed_as_ours() -> None:
    """What asks for a run goes to the trigger, as alertmanager.yml says, and causes silence their consequences."""
    committed = yaml.safe_load((ROOT / "alertmanager/alertmanager.yml").read_text())
    (config,) = of_kind("default", "AlertmanagerConfig").values()
    route, (receiver,) = config["spec"]["route"], config["spec"]["receivers"]
    ours = next(one for one in committed["route"]["routes"] if one["receiver"] == "trigger")
    names = {"groupBy": "group_by", "groupWait": "group_wait", "groupInterval": "group_interval"}
    names |= {"repeatInterval": "repeat_interval", "continue": "continue", "receiver": "receiver"}
    assert {theirs: route[name] for name, theirs in names.items()} == {k: v for k, v in ours.items() if k != "matchers"}
    assert [_written(one) for one in route["matchers"]] == ours["matchers"]
    sides = {"source_matchers": "sourceMatch", "target_matchers": "targetMatch"}
    inhibiting = config["spec"]["inhibitRules"]
    inhibited = [
        {ours: [*map(_written, one[theirs])] for ours, theirs in sides.items()}
        | {key: one[key] for key in ("equal",) if key in one}
        for one in inhibiting
    ]
    assert inhibited == committed["inhibit_rules"]
    (hook,) = receiver["webhookConfigs"]
    assert (hook["url"], hook["sendResolved"]) == ("http://driftloop-trigger.ml:5080/alerts", False)
    credentials = hook["httpConfig"]["authorization"]["credentials"]
    assert credentials["key"] in of_kind("default", "Secret")[credentials["name"]]["data"]


def _written(matcher: dict[str, str]) -> str:
    return f'{matcher["name"]}{matcher["matchType"]}"{matcher["value"]}"'


@EACH_CASE
def test_prometheus_scrapes_the_jobs_that_the_rules_know(case: str) -> None:
    """By a port that one Service has; labels of the target that our metrics have themselves are dropped."""
    monitors = of_kind(case, "ServiceMonitor")
    if case == "without an operator":
        assert not monitors
        return
    jobs = {
        job["job_name"] for job in yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    }
    jobs -= {"prometheus", "alertmanager", "cadvisor", "node"} | ({"prefect"} if case == "external services" else set())
    scraped = set()
    for monitor in monitors.values():
        (endpoint,) = monitor["spec"]["endpoints"]
        selector = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = [one for one in of_kind(case, "Service").values() if selector <= one["metadata"]["labels"].items()]
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
        relabelled = {one.get("targetLabel"): one for one in endpoint["relabelings"]}
        scraped.add(relabelled["job"]["replacement"])
        assert relabelled[None] == {"action": "labeldrop", "regex": "service|endpoint|container"}
        assert monitor["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    assert scraped == jobs
    assert not {"namespace", "pod"} & _labels_of_metrics()  # which the target keeps


def _labels_of_metrics() -> set[str]:
    texts = [path.read_text() for path in (ROOT / "grafana/dashboards").glob("*.json")]
    texts += [path.read_text() for path in rule_files()]
    return {label for text in texts for label in re.findall(r'[{,]\s*(\w+)(?:=~|!~|!=|=)\\?"', text)}


@EACH_CASE
def test_services_lead_to_pods(case: str) -> None:
    """Each Service and each budget selects pods that are there, by a port that these have."""
    made = pods(case).values()
    for resource in [*of_kind(case, "Service").values(), *of_kind(case, "PodDisruptionBudget").values()]:
        selector = resource["spec"]["selector"]
        wanted = selector.get("matchLabels", selector).items()
        chosen = [pod for pod in made if wanted <= pod["metadata"]["labels"].items()]
        assert chosen, resource["metadata"]["name"]
        for port in resource["spec"].get("ports", []):
            ports = {
                one["name"]: one["containerPort"] for pod in chosen for one in pod["spec"]["containers"][0]["ports"]
            }
            assert ports[port["targetPort"]] == port["port"]


@EACH_CASE
def test_who_may_reach_whom_is_as_in_compose(case: str) -> None:
    """Each pod has a policy; what may come in is what another may send, and both are on one network in Compose."""
    policies = of_kind(case, "NetworkPolicy")
    if case == "without an operator":
        assert not policies
        return
    assert {p["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for p in policies.values()} == {
        component for component, _ in containers(case)
    }
    comes = {edge for policy in policies.values() for edge in _edges(policy, "ingress", "from")}
    goes = {edge for policy in policies.values() for edge in _edges(policy, "egress", "to")}
    goes = {(there, here, port) for here, there, port in goes}
    assert comes == goes
    for here, there, _ in goes:
        assert {*COMPOSE[here]["networks"]} & {*COMPOSE[there]["networks"]}
    for policy in policies.values():
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]


def _edges(policy: Resource, direction: str, peers: str) -> Iterator[tuple[str, str, int]]:
    own = policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
    for rule in policy["spec"].get(direction, []):
        for peer in rule.get(peers, []):
            if "podSelector" in peer:
                other = peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
                yield own, other, rule["ports"][0]["port"]


def test_a_database_of_ones_own_is_spoken_to_as_asked() -> None:
    """By MLflow and Prefect alike: the address, the users, and whose certificate it must show."""
    given = {component: environment(container) for component, container in containers("external database")}
    assert not {"postgres", "databases"} & given.keys()
    for component in ("mlflow", "prefect-server"):
        assert given[component]["PGSSLMODE"] == "verify-full"
        assert given[component]["PGSSLROOTCERT"] == "/etc/database-ca/ca.crt"
    prefect = given["prefect-server"].items()
    assert {name.rpartition("_")[2]: value for name, value in prefect if "_DATABASE_" in name} == {
        "DRIVER": "postgresql+asyncpg", "HOST": "db.example.com", "PORT": "5432", "USER": "prefect", "NAME": "prefect",
    }  # fmt: skip
    address = "postgresql+psycopg://mlflow@db.example.com:5432/mlflow"
    (server,) = [one for component, one in containers("external database") if component == "mlflow"]
    assert f"--backend-store-uri={address}" in server["args"]
    accounts = of_kind("external database", "ConfigMap")["driftloop-mlflow"]["data"]["basic_auth.ini"]
    assert f"database_uri = {address}\n" in accounts


def test_a_drain_of_a_volumes_node_is_not_stopped() -> None:
    """All pods there have to go before the first can come back elsewhere; on nodes of their own one goes at a time."""
    with helm.Chart.load(CHART) as chart:
        text = chart.render({"api": {"replicas": 3}}, name="driftloop", namespace=NAMESPACE)
    budgets = {
        b["metadata"]["name"]: b for b in yaml.safe_load_all(text["driftloop/templates/poddisruptionbudgets.yaml"]) if b
    }
    assert budgets["driftloop-api"]["spec"]["maxUnavailable"] == 3
    assert of_kind("object storage", "PodDisruptionBudget")["driftloop-api"]["spec"]["maxUnavailable"] == 1


BAD = [
    ({"api": {"replicas": "three"}}, "at '/api/replicas': got string, want integer"),
    ({"api": {"replicas": 11}}, "at '/api/replicas': maximum: got 11, want 10"),
    ({"api": {"replcias": 3}}, "additional properties 'replcias' not allowed"),
    ({"api": {"settings": {"DATA_DIR": "/rows"}}}, "invalid propertyName 'DATA_DIR'"),
    ({"api": {"settings": {"PREDICTION_LOG_MERGE": "on"}}}, "invalid propertyName 'PREDICTION_LOG_MERGE'"),
    ({"api": {"resources": {"limits": {"cpu": "1", "memory": "1GB"}}}}, "at '/api/resources/limits/memory'"),
    ({"monitor": {"resources": {"limits": None}}}, "at '/monitor/resources': missing property 'limits'"),
    ({"data": {"objectStorage": {"uri": "s3://key:secret@bucket/rows"}}}, "at '/data/objectStorage/uri'"),
    ({"data": {"objectStorage": {"uri": "s3://bucket/rows?secret_key=a"}}}, "objectStorage/uri': 'not' failed"),
    ({"data": {"objectStorage": {"uri": "/rows"}}}, "at '/data/objectStorage/uri'"),
    ({"data": {"objectStorage": {"existingSecret": "storage"}}}, "data.objectStorage.uri: is empty"),
    ({"data": {"volume": {"accessMode": "ReadWriteOncePod"}}}, "'ReadWriteOnce', 'ReadWriteMany'"),
    ({"data": {"volume": {"size": "plenty"}}}, "at '/data/volume/size'"),
    ({"image": {"registry": "https://registry"}}, "at '/image/registry'"),
    ({"mlflow": {"enabled": False}}, "mlflow.external.url: with mlflow.enabled=false"),
    ({"prefect": {"enabled": False}}, "prefect.external.url: with prefect.enabled=false"),
    ({"postgresql": {"enabled": False}}, "postgresql.external: with postgresql.enabled=false"),
    ({"postgresql": {"enabled": False, "external": {**DATABASE, "caSecret": ""}}}, "external.caSecret: with"),
    ({"postgresql": {"external": {"sslMode": "yes"}}}, "at '/postgresql/external/sslMode'"),
    ({"config": "model: {}", "existingConfigMap": "ours"}, "two configurations"),
    ({"secrets": {"existingSecret": "Not A Name"}}, "at '/secrets/existingSecret'"),
    ({"urls": {"grafana": "grafana.example.com"}}, "at '/urls/grafana'"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "said"), [pytest.param(*one, id=one[1][:40]) for one in BAD])
def test_a_value_that_cannot_be_used_is_named(values: Resource, said: str) -> None:
    """Before anything is installed, by its place and by what it takes."""
    with helm.Chart.load(CHART) as chart, pytest.raises(helm.HelmError) as refused:
        chart.render(values, name="driftloop", namespace=NAMESPACE)
    assert said in str(refused.value)


def test_every_value_has_its_line() -> None:
    """What the schema knows stands in values.yaml, and a line that says what it is, or its heading."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert _missing(schema, values, schema["definitions"]) == ["global"]


def _missing(schema: Any, values: Any, definitions: Any, at: str = "") -> list[str]:
    schema = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if "properties" not in schema or values == {}:
        return []
    there = schema["properties"]
    missing = [f"{at}{name}" for name in there if name not in values]
    return missing + [
        one
        for name in there
        if name in values
        for one in _missing(there[name], values[name], definitions, f"{at}{name}.")
    ]


def test_a_release_fits_into_its_secret() -> None:
    """Helm keeps chart and resources of a release, packed, in a Secret of a megabyte at most."""
    chart = b"".join(path.read_bytes() for path in CHART.rglob("*.*"))
    packed = gzip.compress(chart + json.dumps(rendered("everything")).encode())
    assert len(base64.b64encode(packed)) < 300_000


def test_notes_say_how_to_look() -> None:
    """Where the rows are, and commands that name what is installed."""
    with helm.Chart.load(CHART) as chart:
        for case, words in (
            ("default", "share the volume driftloop-data"),
            ("object storage", "driftloop-api-first-0"),
        ):
            notes = chart.render(CASES[case], name="driftloop", namespace=NAMESPACE)["driftloop/templates/NOTES.txt"]
            assert words in notes
            commands = [
                shlex.split(line.partition(" #")[0]) for line in notes.splitlines() if line.startswith("  kubectl")
            ]
            targets = {word for words in commands for word in words if word.startswith("service/")}
            assert {target.partition("/")[2] for target in targets} <= of_kind(case, "Service").keys()
