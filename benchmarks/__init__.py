"""How fast it is, each figure beside another of the same run: ``python -m benchmarks``."""
