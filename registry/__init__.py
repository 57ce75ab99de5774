"""What is recorded: contracts, versions, gates, artifact formats, SQL tables, events, errors.

The lowest package: it imports nothing from `pipelines`, `monitoring` or `serving`.
Importing it costs nothing heavy; MLflow is imported by `registry.model_store` alone,
inside functions.
"""
