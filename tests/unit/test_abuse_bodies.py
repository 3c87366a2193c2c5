"""Bodies that are made to hurt: each is a 4xx that says why, soon, and the worker keeps its memory."""

import gzip
import io
import struct
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import soundfile

from tests.unit.api_fixtures import Gunicorn, features_of, gunicorn, keep_champion, tone, wav
from tests.unit.models import GENRES

MEGABYTES = 200  # that a worker may take for one request, beside what it has
SECONDS = 10
NOISE = (np.random.default_rng(0).normal(size=22_050) * 8_000).astype("<i2").tobytes()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    data = tmp_path_factory.mktemp("bodies") / "data"
    keep_champion(data, GENRES)
    with gunicorn(data, "/ready", API_WORKERS="1") as server:
        requests.post(f"{server.url}/predict", files={"file": wav(tone(120.0))}, timeout=60)
        yield server


def memory(server: Gunicorn, line: str) -> int:
    """Return a figure of the worker's memory in megabytes."""
    (worker,) = server.workers()
    status = Path(f"/proc/{worker}/status").read_text()
    return int(status.partition(f"{line}:")[2].split()[0]) // 1000


def send(server: Gunicorn, **request: Any) -> requests.Response:
    """Post to /predict and return the answer, which came in time, from a worker that took little for it and lives."""
    before, begun, workers = memory(server, "VmRSS"), time.monotonic(), server.workers()
    Path(f"/proc/{workers[0]}/clear_refs").write_text("5")  # the peak counts from here
    answer = requests.post(f"{server.url}/predict", timeout=60, **request)
    assert time.monotonic() - begun < SECONDS
    assert memory(server, "VmHWM") - before < MEGABYTES
    assert server.workers() == workers
    return answer


def flac(seconds: int, rate: int, channels: int) -> bytes:
    """Compress silence."""
    clip = io.BytesIO()
    with soundfile.SoundFile(clip, "w", samplerate=rate, channels=channels, format="FLAC") as file:
        for _ in range(seconds // 10):
            file.write(np.zeros((rate * 10, channels), dtype="int16"))
    return clip.getvalue()


def riff(claimed: int, samples: bytes, channels: int = 1, rate: int = 22_050) -> bytes:
    """Write a WAV header that claims so many bytes, and samples behind it."""
    about = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 & 0xFFFFFFFF, 2 * channels & 0xFFFF, 16)
    return b"RIFF" + struct.pack("<I", claimed) + b"WAVEfmt \x10\0\0\0" + about + b"data\xff\xff\xff\xff" + samples


def zipped(size: int) -> bytes:
    """Compress zeros into an archive."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("clip.wav", b"\0" * size)
    return archive.getvalue()


CLIPS = [
    pytest.param(lambda: flac(3600, 44_100, 2), 422, "silent_clip", id="an hour of silence, 0.6 MB"),
    pytest.param(lambda: flac(120, 48_000, 8), 422, "silent_clip", id="eight channels"),
    pytest.param(lambda: flac(10, 384_000, 1), 413, "clip_too_large", id="384 kHz"),
    pytest.param(lambda: riff(0xFFFFFFFF, b"\0" * 50_000), 422, "silent_clip", id="claims 4 GB"),
    pytest.param(lambda: riff(0xFFFFFFFF, NOISE[:1000]), 422, "clip_too_short", id="claims 4 GB, holds 23 ms"),
    pytest.param(lambda: riff(1000, NOISE, channels=65_535), 422, "not_audio", id="65,535 channels"),
    pytest.param(lambda: riff(1000, NOISE, rate=0), 422, "not_audio", id="0 Hz"),
    pytest.param(lambda: riff(1000, NOISE, rate=0x7FFFFFFF), 422, "clip_too_short", id="2 GHz"),
    pytest.param(lambda: np.random.default_rng(1).bytes(20_000_000), 422, "not_audio", id="random bytes"),
    pytest.param(lambda: zipped(200_000_000), 422, "not_audio", id="zip bomb"),
    pytest.param(lambda: b"ID3\4\0\0\0\0\0\0" + b"\xff\xfb\x90\x44" * 5_000, 422, "not_audio", id="MP3 headers alone"),
    pytest.param(lambda: b"\xff\xfb\x90\x44" + NOISE, 422, "not_audio", id="an MP3 header before noise"),
    pytest.param(lambda: b"OggS" + NOISE, 422, "not_audio", id="an Ogg header before noise"),
]


@pytest.mark.parametrize(("clip", "status", "reason"), CLIPS)
def test_audio_bombs_are_refused(server: Gunicorn, clip: Any, status: int, reason: str) -> None:
    """Neither what a file claims nor what it unpacks to decides what the worker takes for it."""
    answer = send(server, files={"file": ("clip.wav", clip(), "audio/wav")})
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert answer.json()["field"] == "file"


ROW = b'{"features":{"mfcc_1":%b}}'
DEEP = b"[" * 100_000 + b"]" * 100_000
BODIES = [
    pytest.param(DEEP, 400, "malformed_json", None, id="deep list"),
    pytest.param(b'{"a":' * 100_000, 400, "malformed_json", None, id="deep object"),
    pytest.param(ROW % DEEP, 400, "malformed_json", None, id="deep value"),
    pytest.param(ROW % (b"9" * 1_000_000), 400, "malformed_json", None, id="a million digits"),
    pytest.param(ROW % b"1e39", 422, "out_of_range", "features.mfcc_1", id="beyond float32"),
    pytest.param(ROW % b"1e999", 422, "out_of_range", "features.mfcc_1", id="beyond float64"),
    pytest.param(ROW % b"NaN", 422, "not_a_number", "features.mfcc_1", id="NaN"),
    pytest.param(ROW % b"-Infinity", 422, "out_of_range", "features.mfcc_1", id="Infinity"),
    pytest.param(ROW % b'1,"mfcc_1":2', 422, "duplicate_key", "mfcc_1", id="a feature twice"),
    pytest.param(ROW % b'1,"mfcc\\u005f1":2', 422, "duplicate_key", "mfcc_1", id="a feature twice, once in escapes"),
    pytest.param(b'{"features":{"x":1},' + (ROW % b"2")[1:], 422, "duplicate_key", "features", id="features twice"),
    pytest.param(
        b'{"instances":[{"mfcc_1":1},{"mfcc_2":1,"mfcc_2":2}]}', 422, "duplicate_key", "mfcc_2", id="twice in a batch"
    ),
    pytest.param(b'{"features":{"mfcc_\xff":1}}', 400, "malformed_json", None, id="no UTF-8"),
    pytest.param((ROW % b"1").decode().encode("utf-16"), 400, "malformed_json", None, id="UTF-16"),
    pytest.param(b'{"features":{"\\ud800":1}}', 422, "unknown_feature", "features.\ud800", id="half a character"),
    pytest.param(b" " * 44_000_000, 400, "malformed_json", None, id="44 MB of nothing"),
    pytest.param(b" " * 46_000_000, 413, "too_large", None, id="46 MB"),
    pytest.param(b'{"instances":[' + b'{"mfcc_1":1},' * 100_000 + b'{"mfcc_1":1}]}', 413, "too_many_rows", "instances",
                 id="a row too many"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "reason", "field"), BODIES)
def test_hostile_json_is_refused(server: Gunicorn, body: bytes, status: int, reason: str, field: str | None) -> None:
    """A problem that names the field, where there is one."""
    answer = send(server, data=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["reason"], answer.json().get("field")) == (status, reason, field)


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        pytest.param({"Content-Type": "text/plain"}, "Content-Type", id="text"),
        pytest.param({}, "Content-Type", id="no type"),
        pytest.param({"Content-Type": "application/json", "Content-Encoding": "gzip"}, "Content-Encoding", id="gzip"),
    ],
)
def test_what_is_not_plain_json_is_a_415(server: Gunicorn, headers: dict[str, str], field: str) -> None:
    """A compressed body is refused as it is: nothing is unpacked."""
    bomb = gzip.compress(b" " * 40_000_000)
    answer = send(server, data=bomb, headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (415, field)


def test_repeated_values_are_no_repeated_names(server: Gunicorn) -> None:
    """Quotes and escapes in values that are allowed, and a byte order mark, stay allowed."""
    row = {"features": features_of(GENRES), "actual_genre": "jazz"}
    assert send(server, json=row).status_code == 200
    assert send(server, json={"instances": [row, features_of(GENRES)]}).status_code == 200
    escaped = b'\xef\xbb\xbf{"features":{"mfcc\\u005f1":1},"actual_genre":"ja\\u007az"}'
    assert send(server, data=escaped, headers={"Content-Type": "application/json"}).status_code == 200


@pytest.mark.parametrize("path", ["/predict", "/feedback"])
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": "http://elsewhere.example", "Sec-Fetch-Site": "cross-site"}, id="another site"),
        pytest.param({"Origin": "http://elsewhere.example"}, id="another site, in an old browser"),
        pytest.param(
            {"Origin": "http://elsewhere.example", "Host": "elsewhere.example"}, id="a name made to lead here"
        ),
        pytest.param({"Origin": "null"}, id="no origin"),
        pytest.param({"Origin": "http://["}, id="no address"),
    ],
)
def test_a_foreign_page_in_a_browser_writes_nothing(server: Gunicorn, path: str, headers: dict[str, str]) -> None:
    """Without a key any page could send forms to this machine; browsers say where a form comes from."""
    answer = requests.post(f"{server.url}{path}", files={"file": wav(tone(1.0))}, headers=headers, timeout=30)
    assert (answer.status_code, answer.json()["reason"]) == (403, "cross_site")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_page_of_this_machine_writes(server: Gunicorn, host: str) -> None:
    """By both names, whatever its port."""
    headers = {"Origin": f"http://{host}:8080", "Sec-Fetch-Site": "same-site"}
    assert requests.post(f"{server.url}/predict", files={"file": wav(tone(1.0))}, headers=headers, timeout=30).ok
