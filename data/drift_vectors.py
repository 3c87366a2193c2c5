"""Derive the vectors of drifts.yml from what happens to the sound: `python -m data.drift_vectors` prints them.

A feature is the mean over time of one coefficient of an orthonormal DCT-II over a spectrum in decibels
(librosa.power_to_db of 128 mel bands). A filter adds its response to that spectrum, so it adds the response's DCT to
the features. That is exact as long as no band meets power_to_db's floor of 80 dB below the clip's loudest band; for
a noise floor, which is not linear in decibels, a line is fitted. Both are approximations, good for drills.
"""

import sys

import librosa
import numpy as np
import yaml
from scipy.fft import dct, idct
from scipy.signal import butter, sosfreqz

from data.sample import draw
from data.statistics import Floats, load_statistics
from monitoring.contract.config import Model
from monitoring.contract.config_file import load_config
from monitoring.contract.errors import DriftloopError
from monitoring.contract.exit_status import PASSES, run_command
from monitoring.contract.settings import Settings

_BANDS = 128  # librosa's default
_GAIN = -6.0  # dB
_CUTOFF, _ORDER, _DEEPEST = 3500.0, 2, 25.0  # Hz, poles, dB: a narrow codec, or a telephone in between
_NOISE = -25.0  # dB in every band: white noise of about -43 dBFS, as librosa's mel bands are of equal area
_ROWS = 20_000


def gain(decibels: float, coefficients: int) -> Floats:
    """Return what a change of level adds to each coefficient: decibels * sqrt(128) to the first, else nothing."""
    return _to_coefficients(np.full(_BANDS, decibels), coefficients)


def low_pass(cutoff: float, order: int, deepest: float, sample_rate: int, coefficients: int) -> Floats:
    """Return what a Butterworth low-pass (Hz, poles, deepest attenuation in dB) adds to each coefficient."""
    centres = librosa.mel_frequencies(n_mels=_BANDS + 2, fmax=sample_rate / 2)[1:-1]
    _, response = sosfreqz(butter(order, cutoff, fs=sample_rate, output="sos"), worN=centres, fs=sample_rate)
    decibels = 20 * np.log10(np.maximum(np.abs(response), 10 ** (-deepest / 20)))
    return _to_coefficients(decibels, coefficients)


def noise_floor(decibels: float, values: Floats) -> tuple[Floats, Floats]:
    """Return scale and shift per coefficient that come nearest to adding white noise to these rows (least squares).

    The spectrum is taken back from the coefficients (its smooth envelope), the noise's power is added to each band.
    """
    spectrum = idct(values, n=_BANDS, axis=1, norm="ortho")
    noisy = 10 * np.log10(10 ** (spectrum / 10) + 10 ** (decibels / 10))
    after = _to_coefficients(noisy, values.shape[1])
    deviations = values - values.mean(axis=0)
    scale = (deviations * after).sum(axis=0) / (deviations**2).sum(axis=0)
    return scale, after.mean(axis=0) - scale * values.mean(axis=0)


def _to_coefficients(spectrum: Floats, coefficients: int) -> Floats:
    transformed: Floats = dct(spectrum, axis=-1, norm="ortho")[..., :coefficients]
    return transformed


def derive(model: Model) -> dict[str, dict[str, dict[str, float]]]:
    """Derive the drifts that are vectors, for a model whose features are coefficients in order."""
    if model.audio is None:
        raise DriftloopError("the vectors are derived for audio features; this config has no model.audio")
    count = len(model.features)
    values, _ = draw(load_statistics(model), np.random.default_rng(0), _ROWS)
    scale, shift = noise_floor(_NOISE, values)
    muffled = low_pass(_CUTOFF, _ORDER, _DEEPEST, model.audio.sample_rate, count)

    def named(vector: Floats) -> dict[str, float]:
        rounded = zip(model.features, np.round(vector, 2).tolist(), strict=True)
        return {name: value for name, value in rounded if value}

    return {
        "gain": {"shift": named(gain(_GAIN, count))},
        "low_pass": {"shift": named(muffled)},
        "noise_floor": {"scale": named(scale), "shift": named(shift)},
    }


def main() -> int:
    """Print the derived vectors as YAML, ready for drifts.yml."""
    return run_command(_print)


def _print() -> int:
    model = load_config(Settings.read().driftloop_config).model
    print(yaml.safe_dump(derive(model), sort_keys=False, width=110, default_flow_style=None))
    return PASSES


if __name__ == "__main__":
    sys.exit(main())
