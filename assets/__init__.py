"""Thin Dagster assets, partitioned by tenant, with their checks.

An asset has the runtime run its stages and turns the reports into metadata. Stage logic, SQL and models are not here.
"""
