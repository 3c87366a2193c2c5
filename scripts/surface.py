"""What users of a running stack depend on, as JSON, so that two versions of the code can be compared by `diff`.

`python -m scripts.surface DATA_DIR > before.json` asks the default ports, or those of the environment: the metrics of
API, monitor and trigger with types, help texts and labels, the API's OpenAPI description, the alert rules as Prometheus
has them, and the columns of the files.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import requests
from prometheus_client.parser import text_string_to_metric_families

from scripts.stack import ports_from_environment

_SECONDS = 10


def _get(service: str, path: str) -> requests.Response:
    answer = requests.get(f"http://127.0.0.1:{ports_from_environment()[service]}{path}", timeout=_SECONDS)
    answer.raise_for_status()
    return answer


def metrics(service: str) -> dict[str, Any]:
    """Return each metric family of a service, with the names of its labels."""
    families = text_string_to_metric_families(_get(service, "/metrics").text)
    return {
        family.name: {
            "type": family.type,
            "help": family.documentation,
            "labels": sorted({label for sample in family.samples for label in sample.labels}),
        }
        for family in sorted(families, key=lambda family: str(family.name))
    }


def alerts() -> dict[str, Any]:
    """Return each alert rule's expression, waiting time, labels and annotations."""
    groups = _get("prometheus", "/api/v1/rules?type=alert").json()["data"]["groups"]
    kept = ("query", "duration", "labels", "annotations")
    return {rule["name"]: {key: rule[key] for key in kept} for group in groups for rule in group["rules"]}


def columns(path: Path) -> dict[str, Any]:
    """Return the columns of a file, or of a folder's newest part, and the names of its metadata."""
    newest = max(path.glob("part-*.parquet")) if path.is_dir() else path
    schema = pq.read_schema(newest)
    names = sorted(name.decode() for name in schema.metadata or {})
    return {"columns": {field.name: [str(field.type), field.nullable] for field in schema}, "metadata": names}


def main() -> int:
    """Print the surface of the stack that runs on the default ports, or on those of the environment."""
    parser = argparse.ArgumentParser(prog="python -m scripts.surface", description=__doc__)
    parser.add_argument("data", type=Path, metavar="DATA_DIR", help="where that stack keeps its data")
    data = parser.parse_args().data
    surface = {
        "metrics": {service: metrics(service) for service in ("api", "monitor", "trigger")},
        "openapi": _get("api", "/openapi.json").json(),
        "alerts": alerts(),
        "files": {name: columns(data / name) for name in ("reference.parquet", "current.parquet", "labels.parquet")},
    }
    json.dump(surface, sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
