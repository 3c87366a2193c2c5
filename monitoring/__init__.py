"""The monitor: holds the newest rows of the log against the reference, and says what it finds.

Its rooms stand in an order (contract, profile, window and alarms, snapshot, suite, page and offline, backtest), and a
room imports those before it alone.
"""
