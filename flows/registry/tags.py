"""The lineage of a registered version, as tags.

Tags of a model version, stable for readers: `gate` (`first`, `passed` or `refused`), `origin` (`bootstrap`, `retrain`
or `register`, of a model that somebody has brought; its `source` says from where), `trainer` (the user's, where one has
made the version), `flow_run_id`, `alert` (JSON), `log_parts` (JSON: count, sha256 of all names, the newest names),
`reference_digest`, `config_digest`, `features` and `classes` (JSON), `model_sha256` (of model.onnx: by it the API and
the flows detect a damaged file), `learned_through` (microseconds since 1970: the newest logged row that a candidate has
learned from, or a model that somebody has brought, by their word), `promoted_at` (RFC 3339; set just before the alias
moves), and `serves_from` (RFC 3339; set when a flow moves the alias to it, also for a rollback: the moment at which all
API containers change over to it). A version that was rolled back carries `rolled_back_at` (RFC 3339) and
`rolled_back_because`; a champion that stayed because labels show that it is as right as ever carries `accepted_at` and
`accepted_because` of the last time. They are set before its reference is replaced: a run that is killed just before
leaves them as they were. One that was on trial carries `trial_ended_at` and `trial_ended_because`.
"""

import hashlib
import json
from collections.abc import Iterable

from monitoring.contract.config import Config

TRAINER = "trainer"


def model_tags(config: Config, classes: Iterable[str]) -> dict[str, str]:
    """Return the tags of a version's features, classes and config."""
    return {
        "features": json.dumps(config.model.features, ensure_ascii=False),
        "classes": json.dumps([str(name) for name in classes], ensure_ascii=False),
        "config_digest": hashlib.sha256(config.model_dump_json().encode()).hexdigest(),
    }


def describe_names(names: list[str], shown: int = 10) -> str:
    """Return count, digest and the last names as JSON, whose length has a bound."""
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return json.dumps({"count": len(names), "sha256": digest, "newest": names[-shown:]})
