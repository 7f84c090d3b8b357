"""``env=all``: a run of its own for each environment, one after the other.

So what is wrong with one of them stops no other, each has its own logs, journal and lock, and what
holds for a run of one environment holds for all.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from talosmake.base import interruption, wait
from talosmake.base.errors import ConfigError, TalosmakeError
from talosmake.inventory.names import ALL
from talosmake.inventory.settings import Config
from talosmake.report.diff import DIFFERS

_CONFIG = ("--config", "-C")
_DIRECTORY = ("--directory", "-d")
# What has to know of all environments: it decrypts files that they share.
_TOGETHER = "rekey"
_DESTROYING = "reset"
_ONE_NODE = "reboot"


def is_meant(config: Config, argv: Sequence[str]) -> bool:
    """Whether each environment is to have a run of its own.

    :param argv: how Snakemake was called.
    """
    if config.env != ALL or config.promotes or _TOGETHER in argv:
        return False
    # Which refuse to do so for several of them.
    return _ONE_NODE not in argv and not (_DESTROYING in argv and config.confirm)


def arguments(argv: Sequence[str], name: str, directory: Path, snakefile: Path) -> list[str]:
    """Snakemake's arguments for one environment.

    :param argv: those for all of them, without the program.
    :param directory: where Snakemake works, which it went to where it was told to.
    """
    found = [_of_one(argument, name) for argument in argv]
    if found == list(argv):  # as where config.yaml says it
        at = next((i + 1 for i, argument in enumerate(found) if argument in _CONFIG), len(found))
        found[at:at] = [f"env={name}"] if at < len(found) else [_CONFIG[0], f"env={name}"]
    if any(argument.split("=")[0] in _DIRECTORY for argument in argv):
        # As seen from there, a relative one is another.
        found += [_DIRECTORY[0], str(directory), "--snakefile", str(snakefile)]
    return found


def _of_one(argument: str, name: str) -> str:
    start, equals, rest = argument.rpartition(f"env={ALL}")
    is_whole = not rest and (not start or start in ("--config=", *_CONFIG))
    return f"{start}env={name}" if equals and is_whole else argument


def run(argv: Sequence[str], names: Sequence[str], snakefile: Path) -> int:
    """Run Snakemake for each environment; the exit code for all of them.

    :param argv: how Snakemake was called, with the program.
    :returns: 0; that of ``diff`` where there are differences; 1 where something failed.
    :raises ConfigError: when there is no environment.
    """
    if not names:
        raise ConfigError("env=all: there is no environment", hint="Make one: patches/envs/NAME.")
    wait.end_as_on_interrupt()
    codes: dict[str, int] = {}
    for name in names:
        if interruption.is_told():
            break
        codes[name] = _code_of(arguments(argv[1:], name, Path.cwd(), snakefile))
    if error := _failed(codes, names):
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return max(codes.values())


def _code_of(arguments_: Sequence[str]) -> int:
    # -P, so that no module of the project's directory stands in for one of Python's.
    command = [sys.executable, "-P", "-m", "snakemake", *arguments_]
    with subprocess.Popen(command) as child, interruption.ending(child):
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:  # which its own terminal tells it, too
                interruption.stop()


def _failed(codes: Mapping[str, int], names: Sequence[str]) -> TalosmakeError | None:
    failed = [name for name, code in codes.items() if code not in (0, DIFFERS)]
    left = [name for name in names if name not in codes]
    if not failed and not left:
        return None
    done = [name for name in codes if name not in failed]
    parts = [
        f"{what}: {', '.join(these)}"
        for what, these in (("failed", failed), ("not begun", left), ("done", done))
        if these
    ]
    return TalosmakeError(
        f"env=all: {'; '.join(parts)}",
        hint="What is wrong stands above, with each. When it is fixed, the same command goes on.",
    )
