"""Doctor for the repository: what Git must not hold, and the hook that refuses plain secrets."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from talosmake.base import git
from talosmake.base.program import ROOT, is_clone
from talosmake.report.check import Check, Verdict, ok


def repository() -> Iterator[Check]:
    """Git: what must not be in it, and the check before each commit."""
    root = git.root()
    if root is None:
        yield Check(
            Verdict.WARNING,
            "this project is in no Git repository, so nothing tells what was changed",
            "git init && git add . && git commit",
        )
        return
    for name in _PRIVATE:
        held = Verdict.WARNING if name in ("logs", ".snakemake") else Verdict.MISSING
        if Path(name).is_dir() and not git.ignores(Path(name) / "x"):
            what = f"Git does not ignore {name}/, which the workflow writes"
            yield Check(held, what, f"echo '/{name}/' >> .gitignore")
        if git.tracks(Path(name)):
            what = f"Git has files of {name}/, which the workflow writes"
            yield Check(held, what, f"git rm -r --cached {name}; what was pushed is known")
    yield from _hook(root)


# Where the program is, which may be another repository than a person's.
_HOOK = Path("share/hooks/pre-commit")
# The one that talosmake init writes.
_OWN_HOOK = Path(".githooks/pre-commit")
_CHECKS = ("talosmake.secrets.check", "talosmake check_secrets")
# As hooks called it that an earlier version installed; there is no such module any more.
_OLDER_CHECK = "scripts.check_secrets"


# What the workflow writes; each has Git leave it out by itself, unless Git has it already.
_PRIVATE = ("rendered_configs", ".simulator", ".lab", "logs", ".snakemake")


def _hook(root: Path) -> Iterator[Check]:
    """The hook before each commit: ours, or another one that calls the same check."""
    path = git.hook("pre-commit")
    if path is None:
        yield Check(Verdict.WARNING, "no pre-commit hook looks for unencrypted secrets", _install())
        return
    text = path.read_text(errors="replace")
    ours = any(check in text for check in _CHECKS)
    if _OLDER_CHECK in text:
        yield Check(Verdict.WARNING, f"{path} is the one of an older version", _install())
    elif not ours and not ("pre-commit" in text and _is_framework(root)):
        yield Check(
            Verdict.WARNING,
            f"{path} does not look for unencrypted secrets",
            f"let it run: {_run()}",
        )
    elif not os.access(path, os.X_OK):
        yield Check(Verdict.WARNING, f"Git does not run {path}", f"chmod +x {path}")
    else:
        yield ok("a pre-commit hook looks for unencrypted secrets")


def _is_framework(root: Path) -> bool:
    """Whether pre-commit, the program, is told to call the check."""
    config = root / ".pre-commit-config.yaml"
    text = config.read_text(errors="replace") if config.is_file() else ""
    return any(check in text for check in _CHECKS)


def _run() -> str:
    """The check as another hook may call it, from wherever Git runs that."""
    if not is_clone():
        return f"{shlex.quote(str(Path(sys.prefix, 'bin/talosmake')))} check_secrets"
    program = shlex.quote(str(ROOT))
    return f"PYTHONPATH={program}/scripts {program}/.venv/bin/python -P -m talosmake.secrets.check"


def _install() -> str:
    to = '"$(git rev-parse --git-path hooks)/pre-commit"'
    if _HOOK.exists() and Path().resolve() == ROOT:
        return f"install -D {_HOOK} {to}"
    if _OWN_HOOK.exists():
        return f'git config core.hooksPath "$(git rev-parse --show-prefix){_OWN_HOOK.parent}"'
    program = shlex.quote(str(ROOT if is_clone() else sys.prefix))
    return (
        f"git config talosmake.program {program} && "
        f"install -D {shlex.quote(str(ROOT / _HOOK))} {to}"
    )
