"""How a candidate is made and evaluated: the rows it learns from, the pipeline, the comparison with the champion.

It knows tables and models, and neither Prefect nor MLflow.
"""
