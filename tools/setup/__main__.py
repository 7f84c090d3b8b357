"""Set-up: the Python environment, the pinned tools, and what they are built with.

Runs with the system's Python before anything of ours is there, so it uses the standard library
only. Safe to run again at any time: what is in place is left alone, what was interrupted is
finished. ``python3 tools/setup --help`` tells the rest.
"""

import sys
from pathlib import Path

# Where this is run from a directory, only that is on the path.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from talosmake_setup.whole import main

if __name__ == "__main__":
    sys.exit(main())
