"""The drift detector: scores of rows, windows over them, their calibration, and the attribution of an alarm.

It knows rows and numbers alone; drift_watch.py brings the log, the files and the config to it.
"""
