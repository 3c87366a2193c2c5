"""What each case of faults begins from: a stack at rest."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.stack.faulty import Faulty, running
from tests.stack.situation import situation


class Stage:
    """Keeps a stack for as long as each case leaves it so that it comes to rest; after one that failed, starts another.

    So a failure is one case's own, and cases hold in any order, and alone.
    """

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        self._open = ExitStack()
        self._kept: Faulty | None = None

    def at_rest(self) -> Faulty:
        """Return a stack at rest, with traffic: the former case's, or one that is started for this case."""
        if self._kept is None or self._kept.spent or not self._comes_to_rest(self._kept):
            self.clear()
            self._kept = self._open.enter_context(running(self._folder()))
            self._kept.begin()
            self._kept.rest()
        return self._kept

    def _comes_to_rest(self, kept: Faulty) -> bool:
        kept.revive()
        try:
            kept.rest()
        except AssertionError as error:
            sys.stdout.write(f"Another stack is started, for this one does not rest: {error}\n{self.situation()}\n")
            return False
        return True

    def clear(self) -> None:
        """Stop the stack, if one runs."""
        self._open.close()
        self._kept = None

    def situation(self) -> str:
        """Return what the loop is doing."""
        return situation(self._kept) if self._kept else "no stack runs"
