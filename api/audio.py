"""From an audio clip to features: the time means of librosa's rows, as the config describes them."""

import math
import sys
import threading
import time
from functools import cached_property
from typing import IO, Any

import numpy as np
import structlog
from numpy.typing import NDArray

from api.problems import Problem, unprocessable
from monitoring.contract.config import Model
from monitoring.contract.config_file import load_config
from monitoring.contract.errors import ConfigError
from monitoring.contract.logs import start_logging
from monitoring.contract.settings import Settings

logger = structlog.get_logger(__name__)

MAX_SECONDS = 120  # of a longer clip the beginning is taken
_MAX_SAMPLES = 50_000_000  # over all channels; a compressed file can hold far more than its size tells
_MAX_RATE = 192_000  # of 120 seconds at that rate the mean of the channels takes 92 MB
_BLOCK = 65_536  # frames that are decoded at once
_SILENCE = 1e-4  # of full scale, -80 dB: below it, features describe the floor of the numbers, not a sound
_N_FFT = 2048  # librosa's default


class Extractor:
    """Extracts features from clips, one clip at a time, so that memory stays bounded."""

    def __init__(self, model: Model) -> None:
        assert model.audio is not None
        self.error: str | None = "the audio path is still warming up"
        self.warmed_up = threading.Event()  # or failed to
        self._audio = model.audio
        self._model = model
        self._lock = threading.Lock()

    def start(self) -> None:
        """Warm up in a background thread: librosa's first call imports and compiles for up to half a minute."""
        threading.Thread(target=self.warm_up, name="warm-up-audio", daemon=True).start()

    def features(self, clip: IO[bytes]) -> list[float | None]:
        """Return the clip's features in the config's order; raise the Problem that says what is wrong with it."""
        with self._lock:
            return self._features(self._load(clip))

    @cached_property
    def _librosa(self) -> Any:
        import librosa  # noqa: PLC0415 - takes seconds, and only audio needs it

        return librosa

    def warm_up(self) -> None:
        """Go through all of librosa's path once; `error` says what does not work."""
        started = time.monotonic()
        try:
            noise = self._librosa.tone(440.0, sr=self._audio.sample_rate, duration=1.0)
            self._librosa.resample(noise, orig_sr=self._audio.sample_rate * 2, target_sr=self._audio.sample_rate)
            self._features(noise)
        except Exception as error:
            self.error = f"the audio path does not work: {error}"
            logger.exception("audio_warm_up_failed")
        else:
            self.error = None
            logger.info("audio_warmed_up", seconds=round(time.monotonic() - started, 3))
        finally:
            self.warmed_up.set()

    def _load(self, clip: IO[bytes]) -> Any:
        """Decode to mono at the config's sample rate, in the steps of librosa.load."""
        import soundfile  # noqa: PLC0415 - as librosa

        try:
            with soundfile.SoundFile(clip) as file:
                self._require_fitting(file)
                rate = file.samplerate
                samples = _mixed_down(file)
        except soundfile.SoundFileError as error:
            why = getattr(error, "error_string", str(error))  # without the name of the temporary file
            if "regular file" in why:  # libsndfile's word for an MP3 header with nothing sound behind it
                why = "it holds no frame of sound."
            raise unprocessable("not_audio", "file", f"cannot be decoded as audio: {why}") from error
        _require_sound(samples)
        return self._librosa.resample(samples, orig_sr=rate, target_sr=self._audio.sample_rate)

    def _require_fitting(self, file: Any) -> None:
        needed = int(self._audio.options.get("n_fft", _N_FFT)) / self._audio.sample_rate
        seconds = file.frames / file.samplerate
        if seconds < needed:
            raise unprocessable(
                "clip_too_short", "file", f"lasts {seconds * 1000:.0f} ms; at least {needed * 1000:.0f} ms are needed"
            )
        samples = min(seconds, MAX_SECONDS) * file.samplerate * file.channels
        if samples > _MAX_SAMPLES or file.samplerate > _MAX_RATE:
            raise Problem(
                413,
                "clip_too_large",
                f"file: {file.channels} channels at {file.samplerate} Hz are too much to decode; send mono or stereo",
                field="file",
            )

    def _features(self, samples: Any) -> list[float | None]:
        extract = getattr(self._librosa.feature, self._audio.extractor)
        means = extract(y=samples, sr=self._audio.sample_rate, **self._audio.options).mean(axis=-1).tolist()
        if len(means) != len(self._model.features):
            raise ConfigError(
                f"model.audio gives {len(means)} features; model.features names {len(self._model.features)}"
            )
        return [float(mean) for mean in means]


def _mixed_down(file: Any) -> NDArray[np.float32]:
    """Decode block by block, so that all channels are never in memory at once."""
    left, mono = MAX_SECONDS * file.samplerate, [np.zeros(0, np.float32)]
    while left and len(block := file.read(min(_BLOCK, left), dtype="float32", always_2d=True)):
        mono.append(block.mean(axis=1))
        left -= len(block)
    return np.concatenate(mono)


def _require_sound(samples: NDArray[np.float32]) -> None:
    peak = float(np.abs(samples).max(initial=0.0))
    if not math.isfinite(peak):
        raise unprocessable("not_audio", "file", "holds samples that are not finite numbers")
    if peak < _SILENCE:
        raise unprocessable("silent_clip", "file", "is silent: no sample is louder than -80 dB of full scale")


def main() -> None:
    """Compile what librosa needs into numba's cache, so that no service waits for it; exit 1 if that fails."""
    start_logging("api")
    model = load_config(Settings.read().driftloop_config).model
    if model.audio is not None:
        extractor = Extractor(model)
        extractor.warm_up()
        sys.exit(extractor.error)


if __name__ == "__main__":
    main()
