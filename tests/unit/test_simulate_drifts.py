"""Drifts: each does to the rows what drifts.yml says, and the sound does to the features what the vectors say."""

from pathlib import Path

import librosa
import numpy as np
import pytest
import yaml
from scipy.signal import butter, sosfilt

from data.drift_vectors import derive, gain, low_pass
from data.drifts import SHIPPED, ActiveDrifts, DriftError, choose, load_drifts
from monitoring.contract.config import Model
from monitoring.contract.config_file import load_config

MODEL = load_config(Path(__file__).parents[2] / "monitoring/config.yml").model
RATE = 22_050
DRIFTS = load_drifts()
OF_EXAMPLES = {"seconds", "thousands"}  # they name other features, and do not fit the built-in model


def _rows(count: int = 2000) -> np.ndarray:
    return np.random.default_rng(0).normal(10, 5, size=(count, len(MODEL.features)))


def _apply(name: str, rows: np.ndarray, strength: float = 1.0) -> np.ndarray:
    return choose(DRIFTS, [name], MODEL, strength).apply(rows, MODEL.features, np.random.default_rng(1))


def test_no_drift_leaves_the_rows_alone() -> None:
    """Without a drift, and with each drift at strength 0, the rows are what they were."""
    rows = _rows()
    fitting = [name for name in DRIFTS if name not in OF_EXAMPLES]
    for drifts in (ActiveDrifts(), choose(DRIFTS, fitting, MODEL, strength=0.0)):
        assert drifts.apply(rows, MODEL.features, np.random.default_rng(1)) == pytest.approx(rows)
        assert drifts.mix({"a": 3, "b": 1}) == {"a": 0.75, "b": 0.25}


@pytest.mark.parametrize("strength", [pytest.param(0.5, id="half"), pytest.param(1.0, id="full")])
def test_gain_moves_the_first_feature_alone(strength: float) -> None:
    """A change of level by -6 dB moves the first feature by -6 * sqrt(128) and no other."""
    moved = _apply("gain", _rows(), strength) - _rows()
    assert moved[:, 0] == pytest.approx(strength * -6 * np.sqrt(128), abs=0.01)
    assert not moved[:, 1:].any()


def test_noise_floor_takes_contrast_away() -> None:
    """Noise shrinks the spread of every feature."""
    assert (_apply("noise_floor", _rows()).std(axis=0) < 0.8 * _rows().std(axis=0)).all()


def test_missing_features_are_null_in_their_share_of_rows() -> None:
    """The features that it names are null in about their share of the rows, the others never."""
    null = np.isnan(_apply("missing_features", _rows())).mean(axis=0)
    expected = [DRIFTS["missing_features"].missing.get(name, 0.0) for name in MODEL.features]
    assert null == pytest.approx(expected, abs=0.04)
    assert null.any()


def test_zeros_hit_whole_rows() -> None:
    """A row is all zeros or untouched; about the given share is zeros, also when the level drifts as well."""
    drifts = choose(DRIFTS, ["zeros", "gain"], MODEL)
    after = drifts.apply(_rows(), MODEL.features, np.random.default_rng(1))
    zero = (after == 0).all(axis=1)
    assert zero.mean() == pytest.approx(DRIFTS["zeros"].zeros, abs=0.04)
    assert (after[~zero] != 0).all()


@pytest.mark.parametrize("strength", [pytest.param(0.5, id="half"), pytest.param(1.0, id="full")])
def test_wrong_labels_are_the_next_categorys(strength: float) -> None:
    """The share that it names has the next category's label, the last category the first one's; features stay."""
    names = MODEL.categories
    before = np.array([*names] * 200)
    drifts = choose(DRIFTS, ["wrong_labels"], MODEL, strength)
    after = drifts.relabel(before, names, np.random.default_rng(1))
    wrong = after != before
    assert wrong.mean() == pytest.approx(strength, abs=0.04)
    assert (after[wrong] == np.array([*names[1:], names[0]] * 200)[wrong]).all()
    assert _apply("wrong_labels", _rows(), strength) == pytest.approx(_rows())


def test_mix_moves_towards_the_drifts_weights() -> None:
    """At strength 1 the categories come as the drift says, at 0.5 half way."""
    baseline = dict.fromkeys(MODEL.categories, 80)
    wanted = DRIFTS["genre_mix"].mix
    full = choose(DRIFTS, ["genre_mix"], MODEL).mix(baseline)
    half = choose(DRIFTS, ["genre_mix"], MODEL, 0.5).mix(baseline)
    for name in MODEL.categories:
        assert full[name] == pytest.approx(wanted[name] / sum(wanted.values()))
        assert half[name] == pytest.approx((full[name] + 0.1) / 2)


@pytest.mark.parametrize(
    ("names", "model", "strength", "message"),
    [
        pytest.param(["gian"], MODEL, 1.0, "no drift 'gian'; there are gain, low_pass", id="typo"),
        pytest.param(["gain"], {"features": ["width"]}, 1.0, "does not fit the config.* mfcc_1", id="other-config"),
        pytest.param(["gain"], MODEL, -1.0, "strength is -1.0", id="strength"),
    ],
)
def test_a_drift_that_cannot_act_is_refused(
    names: list[str], model: Model | dict[str, list[str]], strength: float, message: str
) -> None:
    """An unknown name, another model's features and a negative strength are errors that say what there is."""
    if isinstance(model, dict):
        model = Model.model_validate({**MODEL.model_dump(), **model})
    with pytest.raises(DriftError, match=message):
        choose(DRIFTS, names, model, strength)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("gain: {reads: x, shfit: {a: 1}}", r"gain\.shfit", id="key"),
        pytest.param("gain: {reads: x, zeros: 1.5}", r"gain\.zeros = 1\.5", id="share"),
        pytest.param("gain: {reads: x, mix: {a: 0}}", r"gain\.mix\.a = 0", id="weight"),
        pytest.param("gain: {", "cannot be read", id="not-yaml"),
    ],
)
def test_a_wrong_drifts_file_names_the_key(tmp_path: Path, text: str, message: str) -> None:
    """An error in drifts.yml names key and value."""
    (tmp_path / "drifts.yml").write_text(text)
    with pytest.raises(DriftError, match=message):
        load_drifts(tmp_path / "drifts.yml")


def test_the_committed_vectors_are_the_derived_ones() -> None:
    """drifts.yml holds what `python -m data.drift_vectors` prints."""
    committed = yaml.safe_load(SHIPPED.read_text())
    for name, vectors in derive(MODEL).items():
        for kind, vector in vectors.items():
            assert committed[name][kind] == pytest.approx(vector, abs=0.011), f"{name}.{kind}"


def _music(seed: int, seconds: int = 8) -> np.ndarray:
    """Make a clip: chords of decaying harmonics, a noisy attack on each beat, a faint hiss."""
    rng = np.random.default_rng(seed)
    beat = np.arange(RATE // 2) / RATE
    beats = []
    for _ in range(2 * seconds):
        root = 110 * 2 ** (rng.integers(0, 24) / 12)
        tones = [(root * chord * h, h) for chord in (1, 1.26, 1.5) for h in range(1, 30) if root * chord * h < RATE / 2]
        beats.append(
            sum(np.sin(2 * np.pi * f * beat) / h**1.2 * np.exp(-beat * (2 + h / 6)) for f, h in tones)
            + rng.normal(0, 0.15, len(beat)) * np.exp(-15 * beat)
        )
    clip = np.concatenate(beats)
    clip += rng.normal(0, 0.002, len(clip))
    return 0.3 * clip / np.abs(clip).max()


def _features(clip: np.ndarray) -> np.ndarray:
    assert MODEL.audio is not None
    extract = getattr(librosa.feature, MODEL.audio.extractor)
    return extract(y=clip.astype(np.float32), sr=RATE, **MODEL.audio.options).mean(axis=1)


def test_a_quieter_clip_moves_as_the_gain_vector_says() -> None:
    """With librosa: -6 dB moves the first mean by -6 * sqrt(128) and the others by nearly nothing."""
    clip = _music(0)
    moved = _features(clip * 10 ** (-6 / 20)) - _features(clip)
    assert moved[0] == pytest.approx(-6 * np.sqrt(128), abs=0.05)
    assert np.abs(moved[1:]).max() < 0.05
    assert moved == pytest.approx(gain(-6, len(moved)), abs=0.05)


def test_a_low_passed_clip_moves_as_the_low_pass_vector_says() -> None:
    """With librosa: a real filter moves the features within 20 % of the vector, in the same direction."""
    clip = _music(1)
    filtered = sosfilt(butter(2, 3500, fs=RATE, output="sos"), clip)
    moved = _features(filtered) - _features(clip)
    said = low_pass(3500, 2, 25, RATE, len(moved))
    assert np.linalg.norm(moved - said) < 0.2 * np.linalg.norm(moved)
    assert [DRIFTS["low_pass"].shift[name] for name in MODEL.features] == pytest.approx(said, abs=0.01)


def test_a_noisy_clip_moves_as_the_noise_floor_says() -> None:
    """With librosa: real white noise moves a quiet clip's features within 35 % of what the fitted line says."""
    clip = _music(2)
    noise = np.random.default_rng(0).normal(0, 10 ** (-43.5 / 20), len(clip))
    before = _features(clip)
    moved = _features(clip + noise) - before
    said = _apply("noise_floor", before[np.newaxis])[0] - before
    assert np.linalg.norm(moved - said) < 0.35 * np.linalg.norm(moved)


def test_units_scale_every_feature_of_any_model() -> None:
    """The drift for other models names no feature and moves all."""
    model = MODEL.model_copy(update={"features": ("a", "b"), "categories": ("x", "y")})
    rows = _rows()[:, :2]
    moved = choose(DRIFTS, ["units"], model).apply(rows, model.features, np.random.default_rng(1))
    assert moved == pytest.approx(1.5 * rows)
