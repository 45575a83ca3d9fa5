"""The composition root: which stages there are and what they run with, Dagster's definitions, the stream, the command line."""
