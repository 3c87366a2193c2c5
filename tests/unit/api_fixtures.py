"""Real parts for the API's tests: small ONNX models, a champion's local copy, an app, clips and a gunicorn."""

import io
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import soundfile
from flask import Flask
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from api.app import create_app
from api.fleet import Fleet
from api.model import Release, save_copy
from api.service import Service
from api.settings import APISettings
from monitoring.contract.config import Config
from tests.processes import ROOT, answers, eventually, free_port


def onnx_model(features: tuple[str, ...], classes: tuple[str, ...], seed: int = 0) -> bytes:
    """Train a small classifier and export it as the flows do."""
    random = np.random.default_rng(seed)
    x = random.normal(scale=50, size=(40 * len(classes), len(features))).astype(np.float32)
    y = np.repeat(np.array(sorted(classes)), 40)
    x[:, 0] += 100 * np.repeat(np.arange(len(classes)), 40)
    steps = SimpleImputer(), StandardScaler(), PolynomialFeatures(2, include_bias=False), LogisticRegression(C=0.1)
    pipeline = make_pipeline(*steps).fit(x, y)
    kind = FloatTensorType([None, len(features)])
    exported = to_onnx(pipeline, initial_types=[("features", kind)], options={"zipmap": False})
    about = {"classes": json.dumps([str(c) for c in pipeline.classes_]), "features": json.dumps(list(features))}
    onnx.helper.set_model_props(exported, about)
    return bytes(exported.SerializeToString())


def keep_champion(data: Path, config: Config, version: str = "3", seed: int = 0) -> None:
    """Lay down the champion's local copy: the API starts from it while the registry is down."""
    content = onnx_model(config.model.features, config.model.categories, seed)
    save_copy(data / "_model", config.model.name, Release(version, 1), content)


def settings(data: Path, config: Path = ROOT / "monitoring" / "config.yml", **more: Any) -> APISettings:
    """Return settings whose registry is down."""
    given = {"data_dir": data, "driftloop_config": config, "mlflow_tracking_uri": "http://127.0.0.1:9"}
    return APISettings(**{**given, "model_poll_seconds": 60.0, "prediction_log_seal_seconds": 60.0, **more})


@contextmanager
def running(chosen: APISettings) -> Iterator[Flask]:
    """Make the app, and close it after use."""
    app = create_app(chosen)
    try:
        yield app
    finally:
        app.extensions["driftloop"].close()


def service_of(app: Flask) -> Service:
    """Return the service of the only model, or the first one's."""
    fleet: Fleet = app.extensions["driftloop"]
    return fleet.services[fleet.first]


def features_of(config: Config, first: float = 0.0) -> dict[str, float]:
    return {name: first + place for place, name in enumerate(config.model.features)}


def wav(samples: Any, rate: int = 22050) -> io.BytesIO:
    """Encode samples as a WAV file of 32-bit floats."""
    clip = io.BytesIO()
    soundfile.write(clip, samples, rate, format="WAV", subtype="FLOAT")
    clip.seek(0)
    return clip


def tone(seconds: float, rate: int = 22050) -> Any:
    return 0.3 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)


class Gunicorn:
    """A real gunicorn with several workers; `within` goes before its command."""

    within: tuple[str, ...] = ()

    def __init__(self, data: Path, wait_for: str = "/model", **environment: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.data = data
        self._wait_for = wait_for
        self.log = data.parent / "gunicorn.log"
        metrics = Path(tempfile.mkdtemp(dir=data.parent, prefix="metrics-"))
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/tmp"),
            "DATA_DIR": str(data),
            "API_PORT": self.url.rsplit(":", 1)[1],
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
            "PREDICTION_LOG_SEAL_SECONDS": "0.5",
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
            **environment,
        }
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [*self.within, sys.executable, "-m", "gunicorn", "-c", "api/gunicorn.conf.py", "api.app:create_app()"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)
        eventually("gunicorn to answer", answers(f"{self.url}{self._wait_for}", self._process, self.log), 60)

    @property
    def master(self) -> int:
        """Return the pid of the master."""
        return self._process.pid

    def workers(self) -> list[int]:
        """Return the pids of the living workers."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def listens(self) -> bool:
        """Say whether any process still holds the port."""
        try:
            socket.create_server(("127.0.0.1", int(self._environment["API_PORT"]))).close()
        except OSError:
            return True
        return False

    def restart(self) -> None:
        """Stop gracefully and start anew."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """Kill the master and all workers at once."""
        for pid in [self._process.pid, *self.workers()]:
            os.kill(pid, 9)
        self._process.wait(10)

    def wait(self) -> None:
        """Wait until a killed master has ended."""
        self._process.wait(10)

    def stop(self) -> None:
        """Stop gracefully, as a deployment would."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(40)


@contextmanager
def gunicorn(data: Path, wait_for: str = "/model", **environment: str) -> Iterator[Gunicorn]:
    server = Gunicorn(data, wait_for, **environment)
    try:
        yield server
    finally:
        server.stop()
