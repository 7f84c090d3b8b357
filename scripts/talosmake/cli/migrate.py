"""A repository's files that talosmake wrote, brought to what this version writes.

What a person changed is left alone: a file is replaced only while it is, byte for byte, as some
talosmake wrote it. Which that is stands in the repository's record, or in a table for those
that are older than the record.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from talosmake.base import files, talosctls
from talosmake.base.errors import ConfigError
from talosmake.base.program import version
from talosmake.base.tools import numbers
from talosmake.cli import repository
from talosmake.inventory import canonical, envfile, names, repository_format, settings
from talosmake.inventory.repository_format import FILE, FORMAT, Record, digest

_VERSION = re.compile(r"\d+\.\d+\.\d+[-.\w]*")
_PROFILE = "profiles/default/profile.yaml"
# What init wrote before there was a record (format 1), by the SHA-256.
_BEFORE_RECORDS = {
    # Without a default target: snakemake alone did nothing of what it does in a clone.
    "c029486bc02a1eab9f0aa7fd1ebd4cba712a4e71f24fc9fa8605eeb95435d9f9": "Snakefile",
    "d6f54c3f705c3e47433ccf178b688ef57a862ab6e45238945ffc421477a773a6": "Snakefile",
    "009ccaba6e1ab96740d4582e7c194cc94724363c9f72e99004837a214489bb36": ".gitignore",
    "a26e7110cae113988266e4e70c3f43ceaf739dab4ccb5140a7db16173ddb2ae3": ".githooks/pre-commit",
    "dab1f6e1707caa4cb39d98d019b7a47c2d857cd8c67e5461eac490f80f5df2b6": "mise.toml",
    "74ee48b8483ce39d6e9a3e7013bfd54061b3e65d0a87165324613f03626de466": _PROFILE,
    "59f4da5edbd380b03fbd562ede0223705fb41f1a8655bcfda517b5150ef76690": _PROFILE,
}


@dataclass(frozen=True)
class Change:
    """A file that is not as this version writes it.

    :ivar before: what stands there; None where the file is new.
    :ivar is_ours: whether nobody changed it since talosmake wrote it.
    """

    path: Path
    before: str | None
    after: str
    is_ours: bool

    def shown(self) -> Iterator[str]:
        """What is to be changed, as a diff; of a person's own file, the lines that it lacks."""
        if self.is_ours:
            before = (self.before or "").splitlines()
            names = (str(self.path), str(self.path))
            yield from difflib.unified_diff(before, self.after.splitlines(), *names, lineterm="")
            return
        yield f"{self.path}: changed by you, and left alone; talosmake {version()} writes there:"
        yield from (f"  {line}" for line in self.missing())

    def missing(self) -> list[str]:
        """The lines that a person's own file lacks, comments apart."""
        there = set((self.before or "").splitlines())
        lines = self.after.splitlines()
        return [line for line in lines if line not in there and line.partition("#")[0].strip()]


def changes(wanted: Mapping[str, str], record: Record) -> list[Change]:
    """What is to be changed, or told, for the files to be as they are wanted.

    :param wanted: the files' contents, by their paths.
    """
    found = []
    for name, after in wanted.items():
        path = Path(name)
        before = _text(path)
        if before == after or (before is None and _was_removed(name, record)):
            continue
        is_ours = before is None or (not path.is_symlink() and _wrote(name, before, record))
        change = Change(path, before, after, is_ours)
        if is_ours or change.missing():
            found.append(change)
    return found


def _wrote(name: str, content: str, record: Record) -> bool:
    """Whether some talosmake wrote a file as it is."""
    found = digest(content)
    return record.written.get(name) == found or _BEFORE_RECORDS.get(found) == name


def _was_removed(name: str, record: Record) -> bool:
    """Whether a file that is not there was, and so is not wanted."""
    return name in record.written or (record.format == 1 and name in _BEFORE_RECORDS.values())


def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None


def migrate(*, apply: bool) -> Iterator[str]:
    """Show what is to be changed in this directory's repository, and change it where it is wanted.

    The record is written last, so that the same command finishes what was interrupted.

    :raises ConfigError: for a record of a newer talosmake, or where a file cannot be read or
        written.
    :raises InventoryError: for a cluster.env that cannot be read.
    """
    record = repository_format.read()
    wanted = repository.owned(_talosctls())
    found = changes(wanted, record)
    for change in found:
        yield from change.shown()
    ours = [change for change in found if change.is_ours]
    if not ours and record.format == FORMAT:
        yield f"nothing to migrate: the repository has format {FORMAT}"
        return
    if not apply:
        yield f"Nothing was changed yet. From format {record.format} to {FORMAT}:"
        yield "  talosmake migrate --apply"
        return
    for change in ours:
        mode = change.path.stat().st_mode & 0o777 if change.before is not None else 0o644
        change.path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(change.path, change.after, mode)
        yield f"{change.path}: written"
    files.write_atomically(FILE, repository_format.text(_written(wanted, record)), 0o644)
    yield f"{FILE}: the repository has format {FORMAT}; commit it with the other files"


def _talosctls() -> set[str]:
    """The versions of talosctl that the environments need, of those that tell their Talos."""
    defaults, found = settings.read({}).defaults, set()
    for name in names.environment_names():
        path = names.ENVIRONMENTS / name / "cluster.env"
        own = envfile.read(path) if path.is_file() else {}
        facts = canonical.facts({**defaults, **own})
        talos, other = facts.get("TALOS_VERSION", ""), facts.get("TALOSCTL_VERSION", "")
        if numbers(talos) and talosctls.serving(talos):
            found.add(other if _VERSION.fullmatch(other) else talosctls.version_for(talos))
    return found


def _written(wanted: Mapping[str, str], record: Record) -> dict[str, str]:
    """The digests to record: of what stands there as it is wanted, and of what stood there."""
    as_wanted = {name: digest(text) for name, text in wanted.items() if _text(Path(name)) == text}
    return {**record.written, **as_wanted}
