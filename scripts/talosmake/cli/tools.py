"""The tools in their pinned versions, for an installed talosmake."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from talosmake.base.program import ROOT, is_clone


def set_up(wanted: Sequence[str]) -> int:
    """Put the tools beside this Python: from PATH where the version fits, else built.

    :param wanted: what else is needed: ``demo``, ``lab`` or ``schematic``.
    :returns: the exit code of set-up.
    """
    command = [sys.executable, str(ROOT / "tools/setup")]
    command += [part for name in wanted for part in ("--with", name)]
    # A clone has a Python environment of its own, which set-up makes as well.
    into = {} if is_clone() else {"TALOSMAKE_PREFIX": sys.prefix}
    return subprocess.run(command, env={**os.environ, **into}, check=False).returncode
