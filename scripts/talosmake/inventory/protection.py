"""``PROTECTED=true``: no machine is reset or destroyed while it stands in Git.

What counts is the last commit beside the files on disk, so that nobody unlocks an environment with
an edit that no one reviewed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from talosmake.base import git
from talosmake.base.errors import ConfigError
from talosmake.base.yamls import lookup
from talosmake.inventory import envfile
from talosmake.inventory.model import Environment

PROTECTED = "PROTECTED"
_DEFAULTS = Path("config/config.yaml")


def of(environment: Environment) -> str:
    """What says that an environment is protected, for a message; "" where nothing does.

    Without a repository, and for a file that was never committed, the files on disk alone count.

    :raises ConfigError: when Git has the file and does not say what it holds, or it is not to be
        read: nobody knows then, and nothing may be destroyed.
    :raises ToolError: as :func:`talosmake.base.git.committed`.
    """
    if environment.cluster.protected:
        return f"{environment.env_file} says {PROTECTED}=true"
    if _committed(environment.env_file) not in ("", "false"):
        return f"in the last commit {environment.env_file} says {PROTECTED}=true"
    return ""


def _committed(env_file: Path) -> str:
    """The fact as the last commit has it, in the environment's file or else in the defaults."""
    text = git.committed(env_file)
    if text is None:
        return ""
    own = envfile.parse(text, env_file)
    return own[PROTECTED] if PROTECTED in own else _default()


def _default() -> str:
    text = git.committed(_DEFAULTS)
    try:
        content: Any = yaml.safe_load(text or "")
    except yaml.YAMLError:
        raise ConfigError(f"{_DEFAULTS}: is no YAML in the last commit") from None
    value = lookup(content, "defaults", PROTECTED)
    return str(value).lower() if value is not None else ""
