"""Batch jobs: `python -m monitoring ingest` appends scored rows to the log, and `gate` judges them."""
