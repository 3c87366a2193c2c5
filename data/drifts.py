"""Drifts as data: read drifts.yml and apply them to rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from data.statistics import Floats, Labels, Rows
from monitoring.contract.config import Model
from monitoring.contract.errors import DriftloopError

SHIPPED = Path(__file__).with_name("drifts.yml")

NEW_LEVEL = "a level never seen"
OTHER_UNIT = 1.5  # of wrong numbers

Share = Annotated[float, Field(ge=0, le=1)]

Levels = Mapping[str, Sequence[str]]  # of each categorical feature


class DriftError(DriftloopError):
    """drifts.yml cannot be used, or does not hold the drift that is asked for."""


class DriftSpec(BaseModel):
    """One drift; see the head of drifts.yml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reads: str
    shift: dict[str, float] = {}
    scale: dict[str, float] = {}
    scale_all: float = 1.0
    mix: dict[str, Annotated[float, Field(gt=0)]] = {}
    missing: dict[str, Share] = {}
    zeros: Share = 0.0
    level_mix: dict[str, Share] = {}
    level_mix_all: Share = 0.0
    new_level: dict[str, Share] = {}
    new_level_all: Share = 0.0
    relabelled: Share = 0.0


@dataclass(frozen=True)
class ActiveDrifts:
    """The drifts that are on, at a strength: 0 leaves the rows alone, 1 is what drifts.yml describes."""

    drifts: tuple[DriftSpec, ...] = ()
    strength: float = 1.0

    def mix(self, baseline: Mapping[str, float]) -> dict[str, float]:
        """Return the categories' weights: from the baseline's at strength 0 to the drift's at 1 and above."""
        weights = _shares(baseline)
        for drift in self.drifts:
            if drift.mix:
                wanted, step = _shares(drift.mix), min(self.strength, 1.0)
                weights = {name: (1 - step) * w + step * wanted.get(name, 0.0) for name, w in weights.items()}
        return weights

    def apply(
        self, values: Rows, features: tuple[str, ...], rng: np.random.Generator, levels: Levels | None = None
    ) -> Rows:
        """Return the rows (rows, features) after the drifts; NaN is a missing number, None a missing level.

        `levels` are those that each categorical feature usually has; without any all are numbers.
        """
        if not levels:
            return self._numbers(values, features, rng)
        after, numeric = values.copy(), [at for at, name in enumerate(features) if name not in levels]
        names = tuple(features[at] for at in numeric)
        after[:, numeric] = self._numbers(values[:, numeric].astype(np.float64), names, rng)
        for at, name in enumerate(features):
            if name in levels:
                after[:, at] = self._levels(values[:, at], name, levels[name], rng)
        return after

    def _levels(self, column: Rows, name: str, known: Sequence[str], rng: np.random.Generator) -> Rows:
        """Return a feature's levels (rows,): some drawn evenly from all, some never seen, and some missing."""

        def struck(share: float) -> npt.NDArray[np.bool_]:
            return np.asarray(rng.random(len(column)) < self.strength * share)

        none = np.array(None, dtype=object)
        for drift in self.drifts:
            evenly = np.array(known, dtype=object)[rng.integers(0, len(known), len(column))]
            column = np.where(struck(drift.level_mix.get(name, drift.level_mix_all)), evenly, column)
            column = np.where(struck(drift.new_level.get(name, drift.new_level_all)), NEW_LEVEL, column)
            column = np.where(struck(drift.missing.get(name, 0.0)), none, column)
        return column

    def _numbers(self, values: Floats, features: tuple[str, ...], rng: np.random.Generator) -> Floats:
        """Return numbers (rows, features) after the drifts.

        What happens to the sound comes first, in the drifts' order; what clients leave out or zero comes last.
        """
        after = values.copy()
        for drift in self.drifts:
            scale = np.array([drift.scale.get(name, drift.scale_all) for name in features])
            shift = np.array([drift.shift.get(name, 0.0) for name in features])
            after = after * (1 + self.strength * (scale - 1)) + self.strength * shift
        for drift in self.drifts:
            missing = np.array([drift.missing.get(name, 0.0) for name in features])
            after[rng.random(after.shape) < self.strength * missing] = np.nan
            after[rng.random(len(after)) < self.strength * drift.zeros] = 0.0
        return after

    def relabel(self, labels: Labels, names: tuple[str, ...], rng: np.random.Generator) -> Labels:
        """Return the rows' labels (rows,) after the drifts.

        Those that are wrong are the next category's; of a regression, which has no `names`, they are in another unit.
        """
        if names:
            return self._rename(labels, names, rng)
        for drift in self.drifts:
            wrong = rng.random(len(labels)) < self.strength * drift.relabelled
            labels = np.where(wrong, labels * OTHER_UNIT, labels)
        return labels

    def _rename(self, categories: Labels, names: tuple[str, ...], rng: np.random.Generator) -> Labels:
        after_it = dict(zip(names, (*names[1:], names[0]), strict=True))
        for drift in self.drifts:
            wrong = rng.random(len(categories)) < self.strength * drift.relabelled
            following = np.array([after_it.get(str(name), name) for name in categories])
            categories = np.where(wrong, following, categories)
        return categories


def _shares(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def load_drifts(path: Path = SHIPPED) -> dict[str, DriftSpec]:
    """Read drifts by name; raise DriftError naming each key that is wrong."""
    try:
        return TypeAdapter(dict[str, DriftSpec]).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise DriftError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        lines = "\n".join(f"  {'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}" for e in error.errors())
        raise DriftError(f"{path}:\n{lines}") from error


def choose(known: Mapping[str, DriftSpec], names: Iterable[str], model: Model, strength: float = 1.0) -> ActiveDrifts:
    """Pick drifts by name for the config's model; raise DriftError for a name, feature or category not known."""
    if not strength >= 0:
        raise DriftError(f"strength is {strength}; it takes 0 or more")
    chosen = []
    for name in names:
        if name not in known:
            raise DriftError(f"there is no drift {name!r}; there are {', '.join(known)}")
        drift = known[name]
        touched = {*drift.shift, *drift.scale, *drift.missing, *drift.mix, *drift.level_mix, *drift.new_level}
        if strange := sorted(touched - {*model.features, *model.categories}):
            raise DriftError(f"drift {name!r} does not fit the config, which knows nothing of {', '.join(strange)}")
        chosen.append(drift)
    return ActiveDrifts(tuple(chosen), strength)
