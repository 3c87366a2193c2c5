"""Evidently's legacy modules without its newer interface and its web service, which the monitor does not use.

`import evidently.legacy` runs the package's own code first, which loads both: a quarter of the monitor's start and
23 MB.
"""

import importlib.util
import sys
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """A package whose own code runs when it is first asked for a name, and not when a module in it is imported."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self.__spec__ is None or self.__spec__.loader is None:
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment]  # a plain module from now on
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def leave_out_the_rest() -> None:
    """Let later imports of Evidently load what they name, and the rest when somebody asks for it."""
    spec = importlib.util.find_spec("evidently")
    if "evidently" in sys.modules or spec is None or spec.submodule_search_locations is None:
        return
    package = _Package("evidently")
    package.__spec__, package.__loader__, package.__file__ = spec, spec.loader, spec.origin
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["evidently"] = package
