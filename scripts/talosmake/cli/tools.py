"""The tools in their pinned versions, for an installed talosmake."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from talosmake.base.program import ROOT


def set_up(wanted: Sequence[str]) -> int:
    """Put the tools beside this Python: from PATH where the version fits, else built.

    :param wanted: what else is needed: ``demo`` or ``lab``.
    :returns: the exit code of set-up.
    """
    command = [sys.executable, str(ROOT / "tools/setup"), "--into", sys.prefix]
    command += [part for name in wanted for part in ("--with", name)]
    return subprocess.run(command, check=False).returncode
