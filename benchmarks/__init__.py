"""What Headrace is measured by: `python -m benchmarks.NAME [--data DIR] [--json]`, each module's docstring tells its keys.

A benchmark starts what it needs, and imports whatever it measures; nothing imports a benchmark.
"""
