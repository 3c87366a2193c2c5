"""A registry that answers what the API asks of MLflow, with aliases that a test moves at once."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.processes import QuietHandler, serving


class Registry:
    """Versions with their content and tags, and the champion's number."""

    def __init__(self) -> None:
        self.url = ""
        self.champion: str | None = None
        self.challenger: str | None = None
        self.contents: dict[str, bytes] = {}
        self.tags: dict[str, Mapping[str, str]] = {}

    def promote(self, version: str, content: bytes | None = None, **tags: str) -> None:
        """Move the alias to a version, which is new where its content is given."""
        if content is not None:
            self.contents[version] = content
        self.tags[version] = tags
        self.champion = version

    def put_on_trial(self, version: str, content: bytes, **tags: str) -> None:
        """Move the alias `challenger` to a new version."""
        self.contents[version], self.tags[version] = content, tags
        self.challenger = version

    def answer(self, address: str) -> tuple[int, bytes]:
        """Answer as MLflow does."""
        parts = urlsplit(address)
        match parts.path.removeprefix("/api/2.0/").split("/"):
            case ["mlflow", "registered-models", "alias"]:
                (alias,) = parse_qs(parts.query)["alias"]
                if (version := self.champion if alias == "champion" else self.challenger) is None:
                    return 404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}'
                tags = [{"key": key, "value": value} for key, value in self.tags[version].items()]
                found = {"version": version, "creation_timestamp": 1000 + int(version), "tags": tags}
                return 200, json.dumps({"model_version": found}).encode()
            case ["mlflow", "model-versions", "get-download-uri"]:
                (version,) = parse_qs(parts.query)["version"]
                return 200, json.dumps({"artifact_uri": f"mlflow-artifacts:/versions/{version}"}).encode()
            case ["mlflow-artifacts", "artifacts", "versions", version, "model.onnx"]:
                return 200, self.contents[version]
        return 404, b""


@contextmanager
def running_registry() -> Iterator[Registry]:
    registry = Registry()

    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 - the base class's name
            status, body = registry.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        registry.url = f"http://127.0.0.1:{port}"
        yield registry
