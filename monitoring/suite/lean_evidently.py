"""Evidently's legacy modules without what the monitor does not use: web service, newer interface, other metrics.

Importing one module of a package runs the package's own code first, which imports all others: of `evidently` the web
service, of its metrics and tests those of text, recommendations and embeddings with nltk and half of scikit-learn. That
is most of the time in which the monitor and `report` start.
"""

import ast
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGES = (
    "evidently",
    "evidently.legacy.metrics",
    "evidently.legacy.test_preset",
    "evidently.legacy.tests",
    "plotly.figure_factory",
)
# The one feature of text columns that a metric of the tests' names imports, with nltk and what that imports. No column
# is tested as text here.
_OF_TEXT = "evidently.legacy.features.OOV_words_percentage_feature", "OOVWordsPercentage"


class _Package(ModuleType):
    """A package that imports what it is asked for: a name that its code takes from a module needs that module alone.

    For any other name its own code runs, after which it is a plain module.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self.__spec__ is None or self.__spec__.loader is None:
            raise AttributeError(name)
        if name in self._sources:
            return getattr(importlib.import_module(self._sources[name]), name)
        self.__class__ = ModuleType  # type: ignore[assignment]  # a plain module from now on
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)

    @cached_property
    def _sources(self) -> Mapping[str, str]:
        """Return the modules that the package's names are imported from under the same name."""
        assert self.__file__ is not None
        code = Path(self.__file__).read_text(encoding="utf-8")
        statements = ast.parse(code).body
        return {
            alias.name: importlib.util.resolve_name("." * found.level + found.module, self.__name__)
            for found in statements
            if isinstance(found, ast.ImportFrom) and found.module
            for alias in found.names
            if alias.asname is None
        }


def leave_out_the_rest() -> None:
    """Let later imports of Evidently load what they name, and the rest when somebody asks for it."""
    for name in PACKAGES:
        spec = None if name in sys.modules else importlib.util.find_spec(name)
        if spec is None or spec.submodule_search_locations is None:
            return
        package = _Package(name)
        package.__spec__, package.__loader__, package.__file__ = spec, spec.loader, spec.origin
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules[name] = package
    module, name = _OF_TEXT
    setattr(sys.modules.setdefault(module, ModuleType(module)), name, type(name, (), {}))
