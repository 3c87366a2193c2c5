"""A local server that speaks S3, and a folder in a bucket of it."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow.fs
import pytest
from moto.server import ThreadedMotoServer

KEY = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@contextmanager
def served_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve a bucket; yield the URI of a folder in it."""
    for name, value in KEY.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    name = f"log-{secrets.token_hex(4)}"  # the server's buckets outlive it
    host, port = server.get_host_and_port()
    query = f"region=eu-central-1&scheme=http&endpoint_override={host}:{port}"
    pyarrow.fs.FileSystem.from_uri(f"s3://?{query}&allow_bucket_creation=true")[0].create_dir(name)
    yield f"s3://{name}/driftloop?{query}"
    server.stop()
