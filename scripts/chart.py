"""What the Helm chart holds of the repository's own files: `make chart`.

Rules, dashboards, configurations and scripts are written into the chart from where they are edited. Three words stand
in them for what is known at the installation alone, and the chart's templates put it in their place.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from scripts.dashboards.export import documents
from scripts.mixin import ROOT, rule_files

CHART = ROOT / "deploy/helm/driftloop"
NAMESPACE, API, POSTGRES = "RELEASE-NAMESPACE", "RELEASE-API", "RELEASE-POSTGRES"

# What stands in an expression and is no metric; in this order, each is covered before the next is looked for.
_NO_METRICS = tuple(
    map(
        re.compile,
        (
            r'"[^"]*"',
            r"\{[^}]*\}",
            r"\b(?:by|on|ignoring|without|group_left|group_right)\s*\([^)]*\)",
            r"\[[^\]]*\]",
            r"\boffset\s+\w+",
            r"\b[a-z_0-9]+\s*(?=\()",
            r"\b(?:and|or|unless|bool|Inf|NaN)\b",
            r"\b\d[\w.]*",
        ),
    )
)
_THEIRS = ("alertmanager_", "prometheus_")  # of the cluster's own servers, which run in another namespace
_QUERY = re.compile(r'(?<=query ")[^"]+(?=")')


def in_namespace(expression: str, namespace: str = NAMESPACE) -> str:
    """Return an expression that looks at the series of one namespace alone, as a Prometheus of many teams needs."""
    covered = expression
    for pattern in _NO_METRICS:
        covered = pattern.sub(lambda found: " " * len(found[0]), covered)
    for metric in reversed(list(re.finditer(r"[a-zA-Z_:][\w:]*", covered))):
        if not metric[0].startswith(_THEIRS):
            at, matcher = metric.end(), f'namespace="{namespace}"'
            if expression[at : at + 1] == "{":
                expression = f"{expression[: at + 1]}{matcher},{expression[at + 1 :]}"
            else:
                expression = f"{expression[:at]}{{{matcher}}}{expression[at:]}"
    return expression


def rules_in_namespace(rules: dict[str, Any], namespace: str = NAMESPACE) -> dict[str, Any]:
    """Return a file of rules whose series and alerts are one namespace's; the label is what the operator routes by."""
    return {"groups": [{**g, "rules": [_rule(rule, namespace) for rule in g["rules"]]} for g in rules["groups"]]}


def _rule(rule: dict[str, Any], namespace: str) -> dict[str, Any]:
    labels = {**rule.get("labels", {}), "namespace": namespace}
    changed = {**rule, "expr": in_namespace(rule["expr"], namespace), "labels": labels}
    if "annotations" in rule:
        changed["annotations"] = {
            name: _QUERY.sub(lambda found: _quoted(in_namespace(found[0], namespace)), text)
            for name, text in rule["annotations"].items()
        }
    return changed


def _quoted(expression: str) -> str:
    """Return an expression as it stands within a template's quotes: PromQL has single ones, too."""
    return expression.replace('"', "'")


def files() -> Iterator[tuple[str, str]]:
    """Yield the name, below files/, and the text of each file that the chart holds."""
    yield "config.yml", _text("monitoring/config.yml")
    yield "haproxy.cfg", _haproxy(_text("api/proxy/haproxy.cfg"))
    yield "basic_auth.ini", _text("flows/basic_auth.ini").replace("mlflow@postgres/mlflow", POSTGRES)
    yield "databases", _secrets(_text("postgres/databases").replace("--host=postgres", f"--host={POSTGRES}"))
    yield "database.sql", _secrets(_text("postgres/database.sql"))
    routing = yaml.safe_load(_text("alertmanager/alertmanager.yml"))
    yield "inhibit_rules.yaml", _yaml([_inhibit_rule(rule) for rule in routing["inhibit_rules"]])
    for path in rule_files():
        rules = rules_in_namespace(yaml.safe_load(path.read_text(encoding="utf-8")))
        yield f"rules/{path.stem}.yaml", _yaml(rules)
    for name, text in documents().items():
        yield f"dashboards/{name}", text


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _secrets(text: str) -> str:
    """Return a script that finds its secrets where pods have them, which leaves room for a cloud's own beside them."""
    return text.replace("/run/secrets/", "/run/secrets/driftloop/")


def _yaml(content: Any) -> str:
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
    return text


def _inhibit_rule(rule: dict[str, list[str]]) -> dict[str, Any]:
    """Return one of Alertmanager's inhibit rules as an AlertmanagerConfig has it."""
    named = {"sourceMatch": rule["source_matchers"], "targetMatch": rule["target_matchers"]}
    equal = {"equal": rule["equal"]} if "equal" in rule else {}
    return {**{name: [_matcher(text) for text in matchers] for name, matchers in named.items()}, **equal}


def _matcher(text: str) -> dict[str, str]:
    name, kind, value = re.fullmatch(r'(\w+)(=~|!~|!=|=)"([^"]*)"', text).groups()  # type: ignore[union-attr]
    return {"name": name, "matchType": kind, "value": value}


def _haproxy(text: str) -> str:
    """Return the proxy's configuration with the cluster's DNS and the API's pods in the place of Docker's."""
    return text.replace("nameserver dns 127.0.0.11:53", "parse-resolv-conf").replace("api:5050", f"{API}:5050")


def write(chart: Path = CHART) -> None:
    """Write the chart's files anew, and remove those that are no more."""
    shutil.rmtree(chart / "files", ignore_errors=True)
    for name, text in files():
        path = chart / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
