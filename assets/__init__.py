"""Thin Dagster assets: one per arrow of the way, partitioned by tenant, with their checks.

An asset asks the runtime to run a stage and turns its report into metadata. No stage logic here, no SQL, no models.
"""
