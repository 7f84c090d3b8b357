"""Images: files, and what a server on a loopback address serves."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scripts import images
from scripts.errors import MachineError
from scripts.vm_model import Boot, Image, ImageKind

ENV = Path("cluster.env")
CONTENT = b"talos" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an image; the cache is below tmp_path."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www/metal.iso").write_bytes(CONTENT)
    monkeypatch.setenv("TALOSMAKE_CACHE", str(tmp_path / "cache"))
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
