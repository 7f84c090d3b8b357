"""Images: files, and what a server on a loopback address serves."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from talosmake.base.errors import ConfigError, MachineError
from talosmake.inventory.machines import Boot, Image, ImageKind
from talosmake.machines import images
from tests.project import REPOSITORY

ENV = Path("cluster.env")
CONTENT = b"talos" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class _Quiet(SimpleHTTPRequestHandler):
    """Serves files; what starts with slow- in pieces, what starts with short- not to its end."""

    asked: ClassVar[list[str]] = []

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if not self.path.startswith(("/slow-", "/short-")):
            super().do_GET()
            return
        content = (Path(self.directory) / self.path[1:]).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        if self.path.endswith(".gz"):
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        for start in range(0, len(content), 1000):
            self.wfile.write(content[start : start + 1000])
            if self.path.startswith("/short-"):
                return
            time.sleep(0.1)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an image; the cache is below tmp_path."""
    (tmp_path / "www").mkdir()
    for name in ("metal.iso", "slow-metal.iso", "short-metal.iso", "slow-metal.gz"):
        (tmp_path / "www" / name).write_bytes(CONTENT)
    monkeypatch.setenv("TALOSMAKE_CACHE", str(tmp_path / "cache"))
    _Quiet.asked.clear()
    handler = partial(_Quiet, directory=str(tmp_path / "www"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/metal.iso"
        server.shutdown()
        thread.join()


def cached(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache/images").glob("*"))


def iso(source: str, sha256: str = "") -> Image:
    return Image(ImageKind.ISO, source, sha256)


def test_a_url_is_fetched_once(served: str, tmp_path: Path) -> None:
    path, _ = images.obtain(iso(served, DIGEST), ENV)
    assert path.read_bytes() == CONTENT
    (tmp_path / "www/metal.iso").unlink()
    assert images.obtain(iso(served, DIGEST), ENV)[0] == path
    assert cached(tmp_path) == [f"{DIGEST}-metal.iso"]


def test_a_url_without_a_digest_is_fetched_and_its_digest_told(served: str, tmp_path: Path) -> None:
    with pytest.raises(MachineError) as error:
        images.obtain(iso(served), ENV)
    assert f"TALOS_IMAGE_SHA256={DIGEST}" in str(error.value)
    (tmp_path / "www/metal.iso").unlink()
    path, _ = images.obtain(iso(served, DIGEST), ENV)
    assert path.read_bytes() == CONTENT
    with pytest.raises(MachineError, match="TALOS_IMAGE_SHA256 is missing"):
        images.identified(Boot((iso(served),)), ENV)


def test_another_content_is_thrown_away(served: str, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=f"its SHA-256 is {DIGEST}, but TALOS_IMAGE_SHA256"):
        images.obtain(iso(served, "0" * 64), ENV)
    assert cached(tmp_path) == []


def test_without_a_network_it_says_which_file_to_put_where(served: str, tmp_path: Path) -> None:
    url = served.replace("metal.iso", "none.iso")
    with pytest.raises(MachineError) as error:
        images.obtain(iso(url, DIGEST), ENV)
    place = tmp_path / f"cache/images/{DIGEST}-none.iso"
    assert f"put it to {place}" in str(error.value)
    assert "set TALOS_IMAGE to its path" in str(error.value)
    place.write_bytes(CONTENT)
    assert images.obtain(iso(url, DIGEST), ENV)[0] == place


OBTAIN = """
import sys
from pathlib import Path
from talosmake.machines import images
from talosmake.base.errors import TalosmakeError
from talosmake.inventory.machines import Image, ImageKind
try:
    print(images.obtain(Image(ImageKind.ISO, *sys.argv[1:]), Path("cluster.env"))[0])
except TalosmakeError as error:
    sys.exit(str(error))
"""


def _obtaining(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OBTAIN, *arguments]
    return subprocess.Popen(
        command,
        cwd=REPOSITORY / "scripts",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_runs_fetch_an_image_once(served: str, tmp_path: Path) -> None:
    url = served.replace("metal", "slow-metal")
    running = [_obtaining(url, DIGEST) for _ in range(3)]
    said = [process.communicate(timeout=30) for process in running]
    kept = tmp_path / f"cache/images/{DIGEST}-slow-metal.iso"
    assert [out for out, _ in said] == [f"{kept}\n"] * 3, said
    assert kept.read_bytes() == CONTENT
    assert _Quiet.asked == ["/slow-metal.iso"]
    assert cached(tmp_path) == [kept.name]


def test_images_of_one_name_are_kept_apart(served: str, tmp_path: Path) -> None:
    """Two versions of an image without a digest in Git, at the same time."""
    other = b"other" * 1000
    (tmp_path / "www/v2").mkdir()
    (tmp_path / "www/v2/slow-metal.iso").write_bytes(other)
    one = served.replace("metal", "slow-metal")
    running = [
        _obtaining(one, ""),
        _obtaining(served.replace("metal.iso", "v2/slow-metal.iso"), ""),
    ]
    said = "".join(process.communicate(timeout=30)[1] for process in running)
    digests = {DIGEST: CONTENT, hashlib.sha256(other).hexdigest(): other}
    assert cached(tmp_path) == sorted(f"{digest}-slow-metal.iso" for digest in digests)
    for digest, content in digests.items():
        assert f"TALOS_IMAGE_SHA256={digest}" in said
        assert (tmp_path / f"cache/images/{digest}-slow-metal.iso").read_bytes() == content


def test_a_killed_download_is_made_good(served: str, tmp_path: Path) -> None:
    url = served.replace("metal", "slow-metal")
    process = _obtaining(url, DIGEST)
    while not cached(tmp_path):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert cached(tmp_path) == [f".{DIGEST}-slow-metal.iso.tmp"]
    assert images.obtain(iso(url, DIGEST), ENV)[0].read_bytes() == CONTENT
    assert cached(tmp_path) == [f"{DIGEST}-slow-metal.iso"]


def test_what_ends_early_is_not_kept(served: str, tmp_path: Path) -> None:
    """Also where no digest would tell."""
    for digest in (DIGEST, ""):
        with pytest.raises(MachineError, match=r"short-metal\.iso cannot be fetched: .*1000 bytes"):
            images.obtain(iso(served.replace("metal", "short-metal"), digest), ENV)
    assert cached(tmp_path) == []


def test_packed_images_stay_packed(served: str) -> None:
    """Some servers say of an .xz or .gz file that its transfer is encoded so."""
    url = served.replace("metal.iso", "slow-metal.gz")
    assert images.obtain(iso(url, DIGEST), ENV)[0].read_bytes() == CONTENT


def test_why_it_cannot_be_fetched_is_said_in_a_few_words(served: str) -> None:
    with pytest.raises(MachineError, match="none cannot be fetched: HTTP 404: File not found"):
        images.obtain(iso(served.replace("metal.iso", "none"), DIGEST), ENV)
    with pytest.raises(MachineError, match="/x cannot be fetched: Connection refused"):
        images.obtain(iso("http://127.0.0.1:9/x", DIGEST), ENV)


def test_a_schematic_that_the_factory_was_not_sent(served: str) -> None:
    url = served.replace("metal.iso", f"image/{'0a' * 32}/v1.13.0/metal-amd64.iso")
    with pytest.raises(MachineError) as error:
        images.obtain(iso(url, DIGEST), ENV)
    assert "HTTP 404" in error.value.message
    assert "snakemake schematics --config env=ENV submit=true\n" in error.value.hint
    with pytest.raises(MachineError) as error:
        images.obtain(iso(served.replace("metal.iso", "none"), DIGEST), ENV)
    assert "Image Factory" not in error.value.hint


def test_interrupted_download_leaves_nothing(
    served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("talosmake.base.fetch.cancelled", lambda: True)
    with pytest.raises(MachineError, match="cannot be fetched: interrupted"):
        images.obtain(iso(served, DIGEST), ENV)
    assert cached(tmp_path) == []


def test_cache_that_cannot_be_written_is_a_clear_error(
    served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", _full)
    with pytest.raises(ConfigError, match=r"metal\.iso: cannot be written: No space left") as error:
        images.obtain(iso(served, DIGEST), ENV)
    assert "TALOSMAKE_CACHE" in error.value.hint


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_kept_image_that_was_damaged_is_not_used(served: str, tmp_path: Path) -> None:
    kept, _ = images.obtain(iso(served, DIGEST), ENV)
    kept.write_bytes(b"half")
    with pytest.raises(MachineError, match="not the one in its name") as error:
        images.obtain(iso(served, DIGEST), ENV)
    assert "Remove it, and run the same command again" in error.value.hint
    kept.unlink()
    assert images.obtain(iso(served, DIGEST), ENV)[0].read_bytes() == CONTENT


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "talos.iso"
    with pytest.raises(MachineError, match="there is no such file"):
        images.obtain(iso(str(path)), ENV)
    path.write_bytes(CONTENT)
    assert images.obtain(iso(str(path)), ENV) == (path, iso(str(path), DIGEST))
    boot = images.identified(Boot((iso(str(path)),)), ENV)
    assert boot.images[0].volume == f"talos-{DIGEST[:16]}.iso"
    with pytest.raises(MachineError, match="its SHA-256 is"):
        images.obtain(iso(str(path), "0" * 64), ENV)
