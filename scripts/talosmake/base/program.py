"""Where the program itself stands, apart from the data that it works on, and which one it is."""

from functools import cache
from importlib.metadata import version as installed_version
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
# The directory with the Snakefile, rules/, config/ and tools/: a clone, or what a wheel brings.
ROOT = _PACKAGE / "program" if (_PACKAGE / "program").is_dir() else _PACKAGE.parents[1]


def is_clone() -> bool:
    """Whether the program is a clone, and not an installed package."""
    return (ROOT / "pyproject.toml").is_file()


def set_up(part: str = "") -> str:
    """The command that provides what the program needs, for hints: only a clone has a Makefile.

    :param part: what is needed beside the usual: ``lab`` or ``schematic``.
    """
    if is_clone():
        return f"make setup WITH={part}" if part else "make setup"
    return f"talosmake setup --with {part}" if part else "talosmake setup"


@cache
def version() -> str:
    """The version of talosmake, e.g. ``0.1.0``."""
    project = ROOT / "pyproject.toml"
    if not project.is_file():
        return installed_version("talosmake")
    import tomllib

    return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
