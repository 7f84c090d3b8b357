"""Archives that are the same bytes for the same content (pure)."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Mapping

from talosmake.base.errors import ArtifactError

# No more is unpacked: a thousand nodes with ten megabytes of manifests in all come to a tenth.
MOST_BYTES = 512 * 1024**2
MOST_MEMBERS = 20_000
_FILE = 0o644
_EXECUTABLE = 0o755


def pack(members: Mapping[str, bytes], time: int) -> bytes:
    """A tar archive: members by name, owner and mode fixed, all of one time.

    :param time: seconds since 1970, e.g. a commit's.
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(members):
            member = tarfile.TarInfo(name)
            member.size = len(members[name])
            member.mtime = time
            member.mode = _EXECUTABLE if name.endswith(".sh") else _FILE
            tar.addfile(member, io.BytesIO(members[name]))
    return archive.getvalue()


def unpack(archive: bytes) -> dict[str, bytes]:
    """The members of a tar archive by name.

    :raises ArtifactError: when it is damaged, or holds anything but files, a name twice, or more
        members than an artifact has.
    """
    members: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            for member in tar:
                if len(members) >= MOST_MEMBERS:
                    raise ArtifactError(f"holds more than {MOST_MEMBERS} members")
                # A sparse one says itself how big it is.
                plain = member.isreg() and not member.issparse()
                content = tar.extractfile(member) if plain else None
                if content is None or member.name in members:
                    raise ArtifactError(f"{member.name}: is no file, or is there twice")
                members[member.name] = content.read()
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise ArtifactError(f"is no tar archive, or a damaged one: {error}") from None
    return members


def compress(archive: bytes, time: int) -> bytes:
    """The archive as gzip leaves it, with a fixed time and no name."""
    return gzip.compress(archive, mtime=time)


def decompress(compressed: bytes) -> bytes:
    """The archive again.

    :raises ArtifactError: when it is damaged, cut short, or bigger than an artifact is.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(compressed)) as file:
            archive = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ArtifactError(f"is no gzip file, or a damaged one: {error}") from None
    if len(archive) > MOST_BYTES:
        raise ArtifactError(f"is bigger than {MOST_BYTES // 1024**2} MiB when it is unpacked")
    return archive
