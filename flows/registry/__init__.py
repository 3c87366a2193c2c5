"""The versions in MLflow's registry, and how one of them is published together with its reference.

What a crash leaves between two steps of that is completed by the next run.
"""
