"""Clients of Prefect's and MLflow's REST APIs, which need neither library.

The trigger's image has none of the two, and a command that makes a few requests need not load them.
"""
