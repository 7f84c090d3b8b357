"""How fast it is, each figure beside another of the same run: ``python -m benchmarks``."""

import sys
from pathlib import Path

# The package is not installed where it is measured.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
