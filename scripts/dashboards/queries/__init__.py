"""Read a dashboard's JSON, and ask Prometheus what its variables, annotations and panels ask.

The preview draws the answers; the tests of the stack look for panels that have none.
"""
