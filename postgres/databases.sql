-- Runs once, on an empty volume. The database `prefect` is there already: POSTGRES_DB.
CREATE DATABASE mlflow;
