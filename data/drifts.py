"""Drifts as data: read drifts.yml and apply them to rows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from data.statistics import Floats
from monitoring.contract.config import Model
from monitoring.contract.errors import DriftloopError

SHIPPED = Path(__file__).with_name("drifts.yml")

Share = Annotated[float, Field(ge=0, le=1)]


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

    def apply(self, values: Floats, features: tuple[str, ...], rng: np.random.Generator) -> Floats:
        """Return the rows (rows, features) after the drifts; NaN is a missing value.

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

    def relabel(
        self, categories: npt.NDArray[np.str_], names: tuple[str, ...], rng: np.random.Generator
    ) -> npt.NDArray[np.str_]:
        """Return the rows' labels (rows,) after the drifts; those that are wrong are the next category's."""
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
        touched = {*drift.shift, *drift.scale, *drift.missing, *drift.mix}
        if strange := sorted(touched - {*model.features, *model.categories}):
            raise DriftError(f"drift {name!r} does not fit the config, which knows nothing of {', '.join(strange)}")
        chosen.append(drift)
    return ActiveDrifts(tuple(chosen), strength)
