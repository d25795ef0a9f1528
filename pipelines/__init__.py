"""Operators composed into jobs that a library user can call. Only `pipelines.engine` imports ray."""
