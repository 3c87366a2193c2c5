"""The monitor: holds the newest rows of the log against the reference, and says what it finds.

Its rooms stand in an order, which pyproject.toml lists, and a room imports those before it alone.
"""
