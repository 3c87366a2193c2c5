"""Evidently's test suite as config.yml has it, and the engine that answers its tests from profiles.

No other room imports Evidently.
"""
