"""No test calls home, nor does what it starts; tests/stack/watching.py takes that away again from what it watches."""

import os

from scripts.stack import QUIET

os.environ.update(QUIET)
