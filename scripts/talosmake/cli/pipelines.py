"""Pipelines for a repository of one's own, also for one that is a directory of a larger one.

GitHub reads workflows at the top of a Git repository only, and GitLab a file that it is told. Both
begin each job at the top. So below a larger repository, the files of ``examples/`` are changed as
docs/ci.md shows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from talosmake.base import git
from talosmake.base.errors import ConfigError
from talosmake.base.program import ROOT

_TOP = PurePosixPath()
# What needs no quotes in YAML, a shell and GitHub's expressions alike.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]*")
_GITLAB = ".gitlab-ci.yml"


def place(directory: Path) -> tuple[Path, PurePosixPath]:
    """Where a directory is, which need not be there yet: a repository's top, and the way from it.

    A directory that the Git repository around it ignores, or that is in none, is to be one itself.
    """
    directory = directory.absolute()
    there = next(one for one in (directory, *directory.parents) if one.is_dir())
    top = git.root(there)
    if top is None or not git.would_take(directory / "Snakefile"):
        return directory, _TOP
    return top, PurePosixPath((there.resolve() / directory.relative_to(there)).relative_to(top))


def files(host: str, below: PurePosixPath = _TOP) -> Mapping[str, str]:
    """The files by their paths from the top of the Git repository.

    :param host: ``github``, ``gitlab`` or ``none``.
    :param below: the way from there to the data.
    :raises ConfigError: when a pipeline cannot name that directory.
    """
    if host == "none":
        return {}
    if below != _TOP and not _PLAIN.fullmatch(str(below)):
        raise ConfigError(
            f"{below}: pipelines cannot name this directory",
            hint="Use letters, digits, '.', '_' and '-' only, or leave out --ci.",
        )
    if host == "gitlab":
        text = _read(ROOT / "examples/gitlab-ci.yml")
        return {str(below / _GITLAB): text if below == _TOP else _gitlab_below(text, below)}
    prefix = "".join(f"{part}-" for part in below.parts)
    workflows = {path.stem: _read(path) for path in (ROOT / "examples/github").glob("*.yml")}
    return {
        f".github/workflows/{prefix}{name}.yml": text
        if below == _TOP
        else _github_below(text, below, prefix, sorted(workflows))
        for name, text in sorted(workflows.items())
    }


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _sub(pattern: str, new: str, text: str) -> str:
    return re.sub(pattern, lambda match: match.expand(new), text, flags=re.MULTILINE)


def _github_below(text: str, below: PurePosixPath, prefix: str, names: list[str]) -> str:
    """A workflow whose steps run in the directory; its name is told from others' of the repository.

    Paths of actions, which ``working-directory`` does not move, begin with the directory.
    """
    text = _sub(rf"\b({'|'.join(names)})\.yml\b", rf"{prefix}\1.yml", text)
    text = _sub(r"^(name: )", rf"\1{prefix}", text)
    text = _sub(r"^(  group: )", rf"\1{prefix}", text)
    text = _sub(
        r"^(    timeout-minutes: .*\n)",
        rf"\1    defaults:\n      run:\n        working-directory: {below}\n",
        text,
    )
    text = _sub(r"hashFiles\('", rf"hashFiles('{below}/", text)
    text = _sub(r"^( +path: )(?=rendered_configs/)", rf"\1{below}/", text)
    text = _sub(r"(name: talos-)(?=\$)", rf"name: {prefix}", text)
    return _base_below(text, "$GITHUB_WORKSPACE", below)


def _gitlab_below(text: str, below: PurePosixPath) -> str:
    text = _sub(r"^(  (?:before|after)_script:\n)", rf"\1    - cd {below}\n", text)
    text = _sub(r"(files: \[)", rf"\1{below}/", text)
    text = _sub(r"^(    paths: \[)(?!\.cache)", rf"\1{below}/", text)
    return _base_below(text, "$CI_PROJECT_DIR", below)


def _base_below(text: str, top: str, below: PurePosixPath) -> str:
    """The other commit is checked out beside the whole repository."""
    text = _sub(r"(worktree add )\.\./base", rf'\1"{top}/../base"', text)
    return _sub(r'(?<!["/])\.\./base(\S*)', rf'"{top}/../base/{below}\1"', text)
