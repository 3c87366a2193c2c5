"""Where a trainer of the user's finds what it is given, by environment variables, and what it leaves.

`docs/bring-your-own.md` tells the user.
"""

ROWS = "TRAINER_ROWS"  # Parquet: what to learn from
REFERENCE = "TRAINER_REFERENCE"  # Parquet: the rows of the present reference, which may help
OUTPUT = "TRAINER_OUTPUT"  # the folder where the model is left
CONFIG = "DRIFTLOOP_CONFIG"
ONNX_FILE, JOBLIB_FILE = "model.onnx", "model.joblib"
