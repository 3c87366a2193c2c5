"""The command backtest: when each rule and the detector would have fired on a log of the past.

The rules are answered by a private Prometheus, so that it says what the running stack would have said.
"""
