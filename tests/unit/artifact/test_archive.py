from __future__ import annotations

import io
import tarfile
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talosmake.artifact import archive
from talosmake.base.errors import ArtifactError

_NAMES = st.from_regex(r"[a-z0-9_-]{1,60}\.yaml", fullmatch=True)


@given(st.dictionaries(_NAMES, st.binary(max_size=2000)), st.integers(0, 2**32 - 1))
def test_there_and_back(members: dict[str, bytes], time: int) -> None:
    packed = archive.pack(members, time)
    assert archive.unpack(packed) == members
    backwards = {name: members[name] for name in reversed(members)}
    assert archive.pack(backwards, time) == packed
    assert archive.decompress(archive.compress(packed, time)) == packed


def test_says_nothing_of_who_and_when() -> None:
    compressed = archive.compress(archive.pack({"b": b"", "a.sh": b""}, 5), 5)
    with tarfile.open(fileobj=io.BytesIO(compressed)) as tar:
        said = [(m.name, m.mode, m.mtime, m.uid, m.gid, m.uname, m.gname) for m in tar]
    assert said == [("a.sh", 0o755, 5, 0, 0, "", ""), ("b", 0o644, 5, 0, 0, "", "")]


def _tar(*members: tarfile.TarInfo) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for member in members:
            tar.addfile(member)
    return content.getvalue()


def test_refuses_what_it_would_not_write() -> None:
    link = tarfile.TarInfo("a")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with pytest.raises(ArtifactError, match="a: is no file, or is there twice"):
        archive.unpack(_tar(link))
    with pytest.raises(ArtifactError, match="a: is no file, or is there twice"):
        archive.unpack(_tar(tarfile.TarInfo("a"), tarfile.TarInfo("a")))
    with pytest.raises(ArtifactError, match="is no tar archive"):
        archive.unpack(b"x" * 2000)


@pytest.mark.parametrize("cut", [0, 5, 20, -1])
def test_refuses_what_is_cut_short(cut: int) -> None:
    whole = archive.compress(archive.pack({"a": b"some text"}, 0), 0)
    with pytest.raises(ArtifactError):
        archive.unpack(archive.decompress(whole[:cut]))


def test_unpacks_no_more_than_an_artifact_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_BYTES", 1024**2)
    assert len(archive.decompress(archive.compress(b"\0" * 1024**2, 0))) == 1024**2
    for compressed in (
        archive.compress(b"\0" * (1024**2 + 1), 0),
        # Two of them in one file.
        archive.compress(b"\0" * 1024**2, 0) + archive.compress(b"\0" * 1024**2, 0),
    ):
        with pytest.raises(ArtifactError, match="is bigger than 1 MiB when it is unpacked"):
            archive.decompress(compressed)
    monkeypatch.setattr(archive, "MOST_MEMBERS", 2)
    assert len(archive.unpack(archive.pack({"a": b"", "b": b""}, 0))) == 2
    with pytest.raises(ArtifactError, match="holds more than 2 members"):
        archive.unpack(archive.pack({"a": b"", "b": b"", "c": b""}, 0))


def test_bomb_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be a hundred times as much as is unpacked."""
    monkeypatch.setattr(archive, "MOST_BYTES", 4 * 1024**2)
    packer = zlib.compressobj(wbits=31)
    zeros = b"\0" * 1024**2
    bomb = b"".join(packer.compress(zeros) for _ in range(400)) + packer.flush()
    tracemalloc.start()
    with pytest.raises(ArtifactError, match="is bigger than 4 MiB"):
        archive.decompress(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * archive.MOST_BYTES


def test_sparse_member_that_says_it_is_huge_is_refused() -> None:
    sparse = tarfile.TarInfo("a")
    sparse.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "a",
        "GNU.sparse.realsize": str(2**40),
    }
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as tar:
        sparse.size = 512
        tar.addfile(sparse, io.BytesIO(b"1\n0\n0\n".ljust(512, b"\0")))
    with pytest.raises(ArtifactError, match="a: is no file"):
        archive.unpack(content.getvalue())
