"""The trigger: takes Alertmanager's webhook, asks Prefect for runs, and exports what Prefect and MLflow do not.

It keeps no state of its own.
"""
