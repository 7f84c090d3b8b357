"""The demo in a directory of its own: the shipped environment of simulated nodes."""

from __future__ import annotations

import shutil
from pathlib import Path

from talosmake.base.errors import ConfigError
from talosmake.base.program import ROOT

_PARTS = ("patches/common.yaml", "patches/cilium", "patches/envs/demo")


def write(directory: Path) -> None:
    """Copy what the demo is made of; where it is already, it is left as it is.

    :raises ConfigError: when something else stands in the directory.
    """
    if (directory / "patches/envs/demo").is_dir():
        return
    other = [entry.name for entry in directory.iterdir() if not entry.name.startswith(".")]
    if other:
        raise ConfigError(
            f"{directory.absolute()} is not empty ({', '.join(sorted(other)[:3])})",
            hint="Make an empty directory for the demo, and run this there.",
        )
    for part in _PARTS:
        source, target = ROOT / part, directory / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
