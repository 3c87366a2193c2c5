"""POST /predict with an audio clip."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pandas as pd
import pytest
import requests
import soundfile
from flask import Flask

from api.audio import MAX_SECONDS, Extractor
from monitoring.contract.config import Audio
from tests.processes import eventually
from tests.unit.api_fixtures import keep_champion, running, service_of, settings, tone, wav
from tests.unit.models import GENRES


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    data = tmp_path_factory.mktemp("audio") / "data"
    keep_champion(data, GENRES)
    with running(settings(data)) as app:
        app.config["DATA"] = data
        eventually("the audio path to be warm", lambda: app.test_client().get("/ready").status_code == 200, 90)
        yield app


def upload(app: Flask, clip: io.BytesIO, **form: Any) -> Any:
    sent = requests.Request("POST", "http://api/predict", data=form, files={"file": ("clip.wav", clip)}).prepare()
    return app.test_client().post("/predict", data=sent.body, content_type=sent.headers["Content-Type"])


def test_features_are_those_of_librosa(app: Flask) -> None:
    """A stereo clip of another sample rate gives the MFCC means that librosa itself gives, and its label is logged."""
    rate = 44_100
    left = tone(2.0, rate) + 0.1 * np.random.default_rng(1).normal(size=2 * rate)
    clip = wav(np.stack([left, left[::-1]], axis=1), rate)
    answer = upload(app, clip, actual_genre="jazz").json
    service_of(app).predictions.seal()
    row = (
        pd.read_parquet(app.config["DATA"] / "current.parquet").set_index("prediction_id").loc[answer["prediction_id"]]
    )
    samples, _ = librosa.load(wav(np.stack([left, left[::-1]], axis=1), rate), sr=22_050)
    expected = librosa.feature.mfcc(y=samples, sr=22_050, n_mfcc=13, n_fft=2048, hop_length=512).mean(axis=1)
    np.testing.assert_array_equal(row[list(GENRES.model.features)].to_numpy(np.float32), expected.astype(np.float32))
    assert row["actual_genre"] == "jazz"


def test_flac_is_audio_too(app: Flask) -> None:
    """The file's content decides, not its name."""
    clip = io.BytesIO()
    soundfile.write(clip, tone(1.0), 22_050, format="FLAC")
    clip.seek(0)
    assert upload(app, clip).status_code == 200


def test_a_long_clip_is_taken_from_its_beginning(app: Flask) -> None:
    """What comes after the documented number of seconds changes nothing."""
    rate = 2_000
    beginning, rest = tone(MAX_SECONDS, rate), np.random.default_rng(0).normal(size=60 * rate)
    short = upload(app, wav(beginning, rate)).json
    long = upload(app, wav(np.concatenate([beginning, rest]), rate)).json
    assert long["probabilities"] == short["probabilities"]


BAD = [
    pytest.param(lambda: io.BytesIO(b"just some text\n" * 100), 422, "not_audio", "decoded", id="text named .wav"),
    pytest.param(lambda: io.BytesIO(b""), 422, "not_audio", "decoded", id="empty file"),
    pytest.param(lambda: io.BytesIO(wav(tone(1)).read(30)), 422, "not_audio", "decoded", id="cut in its header"),
    pytest.param(lambda: wav(tone(0.0)), 422, "clip_too_short", "lasts 0 ms", id="no samples"),
    pytest.param(lambda: wav(tone(0.01)), 422, "clip_too_short", "10 ms; at least 93 ms", id="10 ms"),
    pytest.param(lambda: wav(np.zeros(22_050)), 422, "silent_clip", "silent", id="silence"),
    pytest.param(lambda: wav(tone(1) * 1e-4), 422, "silent_clip", "silent", id="next to silence"),
    pytest.param(lambda: wav(np.full(22_050, np.nan)), 422, "not_audio", "finite", id="NaN samples"),
    pytest.param(lambda: wav(np.full(22_050, np.inf)), 422, "not_audio", "finite", id="infinite samples"),
    pytest.param(lambda: io.BytesIO(b"\0" * 50_000_000), 413, "too_large", "25 MB", id="50 MB"),
]


@pytest.mark.parametrize(("clip", "status", "reason", "says"), BAD)
def test_bad_clip_is_refused(app: Flask, clip: Any, status: int, reason: str, says: str) -> None:
    """A clip without usable sound is a 4xx problem that says what is wrong with `file`."""
    answer = upload(app, clip())
    assert (answer.status_code, answer.json["reason"]) == (status, reason)
    assert says in answer.json["detail"]


def test_a_small_file_that_decodes_to_gigabytes_is_refused(app: Flask) -> None:
    """The size in memory counts, not that of a well compressed file."""
    clip = io.BytesIO()
    with soundfile.SoundFile(clip, "w", samplerate=655_350, channels=8, format="FLAC") as file:
        for _ in range(10):
            file.write(np.zeros((655_350, 8)))
    clip.seek(0)
    answer = upload(app, clip)
    assert answer.status_code == 413
    assert "8 channels" in answer.json["detail"]


@pytest.mark.parametrize(
    ("form", "field"),
    [
        pytest.param({"fil": (io.BytesIO(b"x"), "a.wav")}, "fil", id="wrong name"),
        pytest.param({}, "file", id="no file"),
        pytest.param({"file": "a.wav"}, "file", id="a path instead of a file"),
        pytest.param({"file": [(io.BytesIO(b"x"), "a"), (io.BytesIO(b"x"), "b")]}, "file", id="two files"),
        pytest.param({"file": (io.BytesIO(b"x"), "a"), "actual_genre": "polka"}, "actual_genre", id="no genre"),
        pytest.param({"file": (io.BytesIO(b"x"), "a"), "genre": "rock"}, "genre", id="unknown field"),
    ],
)
def test_bad_form_is_refused_by_name(app: Flask, form: dict[str, Any], field: str) -> None:
    """A form that is not a clip with an optional label is a 422 that names the field."""
    answer = app.test_client().post("/predict", data=form, content_type="multipart/form-data")
    assert (answer.status_code, answer.json["field"]) == (422, field)


@pytest.mark.parametrize(
    ("audio", "says"),
    [
        pytest.param(Audio(extractor="mfcc", sample_rate=22_050, options={"n_mfcc": 20}), "gives 20", id="count"),
        pytest.param(Audio(extractor="nonsense", sample_rate=22_050), "nonsense", id="no such extractor"),
        pytest.param(Audio(extractor="mfcc", sample_rate=22_050, options={"n_fft": "x"}), "not work", id="option"),
    ],
)
def test_audio_config_that_does_not_fit_is_found_before_traffic(tmp_path: Path, audio: Audio, says: str) -> None:
    """The warm-up finds an extractor that does not give the model's features, and /ready can say so."""
    extractor = Extractor(GENRES.model.model_copy(update={"audio": audio}))
    extractor.start()
    eventually("the warm-up to end", lambda: extractor.error and "warming" not in extractor.error)
    assert says in str(extractor.error)
