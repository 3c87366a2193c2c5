"""The sequential drift detector: rows as scores, windows over them, their calibration, the alarm and its attribution.

All modules but drift_watch.py work on arrays alone; that one connects them with the log, the files and the config.
"""
