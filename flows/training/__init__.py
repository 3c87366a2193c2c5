"""How a candidate is made and judged: the rows it learns from, the pipeline, the comparison with the champion.

It knows tables and models, and neither Prefect nor MLflow.
"""
