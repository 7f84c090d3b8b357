"""Which talosctl serves which Talos, and which one is called."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from talosmake.base import interruption, talosctls
from talosmake.base.errors import ToolError
from tests.project import REPOSITORY

MINORS = [talosctls.text(one) for one in talosctls.minors()]


def test_each_directory_is_in_the_table() -> None:
    pins = (REPOSITORY / "tools/talosctl").glob("*/go.mod")
    assert sorted(pin.parent.name for pin in pins) == sorted(MINORS)
    assert talosctls.text(talosctls.minor(talosctls.default())) in MINORS


@pytest.mark.parametrize("one", talosctls.minors(), ids=talosctls.text)
def test_each_is_of_its_minor_version_and_there(one: talosctls.Minor) -> None:
    version = talosctls.pinned(one).pinned
    assert talosctls.minor(version) == one
    assert talosctls.version_for(f"v{talosctls.text(one)}.0") == version
    assert Path(talosctls.require(version)).name == f"talosctl-{talosctls.text(one)}"


@pytest.mark.parametrize("one", MINORS)
def test_pins_that_are_no_release_of_what_is_asked_for_say_why(one: str) -> None:
    text = (REPOSITORY / "tools/talosctl" / one / "go.mod").read_text()
    assert text.startswith("// talosctl ")
    for line in re.findall(r"^(.*)\nreplace ", text, re.MULTILINE):
        assert line.startswith("// It asks for "), line


@pytest.mark.parametrize(
    ("talos", "serving"),
    [
        ("v1.12.4", (1, 12)),
        ("v1.13.99", (1, 13)),
        ("v1.14.0-alpha.1", (1, 14)),
        ("v1.9.0", (1, 12)),
        ("v1.15.0", None),
        ("v2.0.0", None),
    ],
)
def test_which_talosctl_serves_a_talos(talos: str, serving: talosctls.Minor | None) -> None:
    assert talosctls.serving(talos) == serving


Place = Callable[[str, str, str], Path]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Put a talosctl that tells a version into a directory that then is on PATH."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "own/python"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    talosctls.require.cache_clear()

    def placed(directory: str, name: str, version: str) -> Path:
        path = tmp_path / directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\necho 'Client:'; echo 'Talos v{version}'\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{path.parent}")
        return path

    yield placed
    talosctls.require.cache_clear()


def test_the_one_beside_this_python_comes_first(place: Place) -> None:
    place("a", "talosctl-1.14", "1.14.1")
    own = place("own", "talosctl-1.14", "1.14.1")
    assert talosctls.require("1.14.1") == str(own)


def test_all_on_path_are_looked_at(place: Place) -> None:
    place("a", "talosctl", "1.13.9")
    place("b", "talosctl-1.14", "1.14.0")
    wanted = place("c", "talosctl", "1.14.1")
    assert talosctls.require("1.14.1") == str(wanted)


@pytest.mark.parametrize("version", ["1.14.2", "1.14.1-dirty", "1.14.10", "1.13.1"])
def test_no_other_version_will_do(place: Place, version: str) -> None:
    path = place("a", "talosctl", version)
    with pytest.raises(ToolError) as error:
        talosctls.require("1.14.1")
    assert error.value.message == (
        f"talosctl 1.14.1 is needed, and not there\n{path}: version {version}"
    )


def test_one_that_fails_is_not_taken(place: Place) -> None:
    path = place("a", "talosctl", "1.14.1")
    path.write_text("#!/bin/sh\necho 'Talos v1.14.1'; exit 1\n")
    with pytest.raises(ToolError, match="talosctl: does not tell its version"):
        talosctls.require("1.14.1")


def test_one_that_cannot_be_started_keeps_no_other_from_being_taken(place: Place) -> None:
    broken = place("a", "talosctl-1.14", "1.14.1")
    broken.write_bytes(b"\x7fELF of another architecture")
    with pytest.raises(ToolError) as error:
        talosctls.require("1.14.1")
    assert error.value.message == (
        f"talosctl 1.14.1 is needed, and not there\n{broken} cannot be started: Exec format error"
    )
    wanted = place("b", "talosctl", "1.14.1")
    assert talosctls.require("1.14.1") == str(wanted)


def test_an_interrupted_look_says_so(place: Place) -> None:
    path = place("a", "talosctl", "1.14.1")
    interruption.stop()
    path.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(ToolError, match="interrupted"):
        talosctls.require("1.14.1")


def test_two_names_of_one_file_are_asked_once(place: Place) -> None:
    path = place("a", "talosctl", "1.13.0")
    (path.parent / "talosctl-1.14").symlink_to(path)
    with pytest.raises(ToolError) as error:
        talosctls.require("1.14.1")
    assert error.value.message.count("version 1.13.0") == 1


@pytest.mark.parametrize("broken", ["not a program of this machine", "#!/no/such/shell\n"])
def test_one_that_cannot_be_started_hides_no_other(place: Place, broken: str) -> None:
    path = place("a", "talosctl", "1.14.1")
    path.write_text(broken)
    wanted = place("b", "talosctl", "1.14.1")
    assert talosctls.require("1.14.1") == str(wanted)
    wanted.unlink()
    talosctls.require.cache_clear()
    with pytest.raises(ToolError) as error:
        talosctls.require("1.14.1")
    assert re.search(rf"\n{path} cannot be started: .+", error.value.message)


def test_a_shim_is_asked_by_each_of_its_names(place: Place, tmp_path: Path) -> None:
    """A link to mise, say, which is what it is called."""
    mise = place("lib", "mise", "1.14.1")
    mise.write_text(f'{mise.read_text()}[ "${{0##*/}}" = talosctl ]\n')
    place("own", "talosctl-1.14", "1.14.1").unlink()
    (tmp_path / "own/talosctl-1.14").symlink_to(mise)
    place("shims", "talosctl", "1.14.1").unlink()
    (tmp_path / "shims/talosctl").symlink_to(mise)
    assert talosctls.require("1.14.1") == str(tmp_path / "shims/talosctl")
