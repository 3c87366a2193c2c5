"""The Prefect flows that make, replace and roll back the champion, and the trigger that requests their runs for alerts.

A version and its reference are published together, and a crash between any two steps is completed by the next run.
"""
