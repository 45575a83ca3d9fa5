"""The benchmarks: `python -m benchmarks.NAME [--data DIR] [--json]`. Each module's docstring documents the keys of its result.

A benchmark starts the servers and processes it needs, and imports what it measures. No package of the product imports a benchmark. Modules
whose name begins with an underscore are shared between benchmarks, and some of them with the tests.
"""
