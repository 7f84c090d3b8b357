"""Where the program is: a clone, or an installed package."""

from __future__ import annotations

import pytest

from talosmake.base import program
from talosmake.cli.main import talosmake
from tests.project import REPOSITORY


def test_the_command_of_a_clone() -> None:
    assert program.is_clone()
    assert (program.set_up(), program.set_up("lab")) == ("make setup", "make setup WITH=lab")
    assert "WITH" in (REPOSITORY / "Makefile").read_text()


def test_the_command_of_an_installed_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """There is no Makefile in a person's repository; what is named is there, with these options."""
    monkeypatch.setattr(program, "ROOT", tmp_path_factory.mktemp("program"))
    assert not program.is_clone()
    assert program.set_up() == "talosmake setup"
    for part in ("lab", "schematic"):
        name, *arguments = program.set_up(part).split()[1:]
        command = talosmake.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        assert command.make_context(name, arguments).params == {"wanted": (part,)}
