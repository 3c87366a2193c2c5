"""The exit statuses of every command, which a pipeline can go by."""

import os
import sys
import traceback
from collections.abc import Callable

from monitoring.contract.errors import DriftloopError

PASSES = 0
FAILS = 1  # a test fails
CANNOT = 2  # the command cannot do its work; argparse says so of its own errors too
SKIPPED = 3  # nothing fails, and tests were skipped although all were required


def run_command(command: Callable[[], int]) -> int:
    """Run a command; where it cannot do its work, say why in one line and return CANNOT.

    A traceback is for our own mistakes alone, which must not look like a test that fails.
    """
    try:
        return command()
    except DriftloopError as error:
        sys.stderr.write(f"{error}\n")
    except BrokenPipeError:  # who reads the output has left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except MemoryError:
        sys.stderr.write("there is not enough memory\n")
    except Exception as error:  # noqa: BLE001 - it is told in full
        traceback.print_exc()
        sys.stderr.write(f"internal error: {type(error).__name__}: {error}; please report it with the lines above\n")
    return CANNOT
