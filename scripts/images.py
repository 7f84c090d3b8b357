"""Images to boot from: files of the user, or fetched once into a cache and checked."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from scripts import files
from scripts.errors import MachineError
from scripts.progress import cancelled, say
from scripts.vm_model import Boot, Image

_PIECE = 1024 * 1024
_SAY_EVERY = 5.0
# The most to wait for the next bytes of a download, in seconds.
_STALLED = 60.0


def directory() -> Path:
    """Where fetched images are kept, for all projects of this user."""
    for name, below in (("TALOSMAKE_CACHE", ""), ("XDG_CACHE_HOME", "talosmake")):
        if os.environ.get(name):
            return Path(os.environ[name]) / below / "images"
    return Path.home() / ".cache/talosmake/images"


def identified(boot: Boot, env_file: Path) -> Boot:
    """The images with their digests, by which they are called in a storage pool.

    A URL's digest must stand in Git; a file's is computed where Git gives none.

    :raises MachineError: when a file is missing, or a URL has no digest.
    """
    return replace(boot, images=tuple(_identified(image, env_file) for image in boot.images))


def _identified(image: Image, env_file: Path) -> Image:
    if image.sha256:
        return image
    if not image.is_url:
        return replace(image, sha256=_digest_of(_path(image, env_file)))
    raise MachineError(
        f"{env_file}: {image.key}_SHA256 is missing: what {image.source} serves is not trusted "
        "without a digest in Git",
        hint="Run 'snakemake vms': it fetches the image and tells the digest to write there.",
    )


def obtain(image: Image, env_file: Path) -> tuple[Path, Image]:
    """An image as a file of the right content, fetched if need be.

    :returns: the file, and the image with its digest.
    :raises MachineError: when it cannot be had, its digest is wrong, or Git gives none for a URL.
    """
    if not image.is_url:
        path = _path(image, env_file)
        found = _digest_of(path)
        if image.sha256 and found != image.sha256:
            raise MachineError(
                f"{path}: its SHA-256 is {found}, but {env_file} says "
                f"{image.key}_SHA256={image.sha256}",
                hint="Get the file anew; or, if it is the one you want, mend the digest.",
            )
        return path, replace(image, sha256=found)
    if image.sha256:
        kept = directory() / f"{image.sha256}-{_name(image)}"
        if not kept.exists():
            _fetch(image, kept)
        return kept, image
    unknown = directory() / f"unknown-{_name(image)}"
    found = _download(image, unknown)
    unknown.replace(directory() / f"{found}-{_name(image)}")
    raise MachineError(
        f"{env_file}: {image.key}_SHA256 is missing; the SHA-256 of what {image.source} serves is "
        f"{found}",
        hint="If that is the image you want, write it down there, and run the same command "
        f"again; the image is kept:\n  {image.key}_SHA256={found}",
    )


def _name(image: Image) -> str:
    return urlsplit(image.source).path.rpartition("/")[2] or "image"


def _path(image: Image, env_file: Path) -> Path:
    path = Path(image.source).expanduser()
    if not path.is_file():
        raise MachineError(
            f"{env_file}: {image.key}={image.source}: there is no such file",
            hint=f"Put the image there ({path.absolute()}), or give an https URL and "
            f"{image.key}_SHA256.",
        )
    return path


def _digest_of(path: Path) -> str:
    status = path.stat()
    return _digest(path.absolute(), status.st_size, status.st_mtime_ns)


@cache
def _digest(path: Path, _size: int, _time: int) -> str:
    """The SHA-256 of a file, computed once a process as long as it does not change."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(image: Image, kept: Path) -> None:
    """Download into the cache; only what has the right digest gets its name there."""
    temporary = files.temporary_path(kept)
    found = _download(image, temporary)
    if found != image.sha256:
        temporary.unlink()
        raise MachineError(
            f"{image.source}: its SHA-256 is {found}, but {image.key}_SHA256 in Git is "
            f"{image.sha256}; it was thrown away",
            hint="Is the URL of the right version? Then mend the digest.",
        )
    temporary.replace(kept)


def _download(image: Image, target: Path) -> str:
    """Download; returns the SHA-256."""
    files.private_directory(target.parent)
    digest = hashlib.sha256()
    try:
        with _opened(image) as (response, size), target.open("wb") as file:
            for piece in _with_progress(response, size, _name(image)):
                digest.update(piece)
                file.write(piece)
    except (OSError, urllib.error.URLError) as error:
        target.unlink(missing_ok=True)
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        place = directory() / f"{image.sha256 or 'SHA256'}-{_name(image)}"
        raise MachineError(
            f"{image.source} cannot be fetched: {reason}",
            hint=f"Without a network: get the file elsewhere and put it to {place}"
            + ("" if image.sha256 else " (with its SHA-256 in place of that word)")
            + f",\nor anywhere and set {image.key} to its path.",
        ) from None
    return digest.hexdigest()


@contextlib.contextmanager
def _opened(image: Image) -> Iterator[tuple[IO[bytes], int]]:
    """The response to a request, and its size in bytes (0: not told)."""
    request = urllib.request.Request(  # noqa: S310 - is_url lets http and https pass only
        image.source, headers={"User-Agent": "talosmake"}
    )
    try:
        response = urllib.request.urlopen(request, timeout=_STALLED)  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()  # it carries the open connection
        raise
    with response:
        yield response, int(response.headers.get("Content-Length") or 0)


def _with_progress(response: IO[bytes], size: int, name: str) -> Iterator[bytes]:
    start = said = time.monotonic()
    received = 0
    while piece := response.read(_PIECE):
        if cancelled():
            raise OSError("interrupted")
        received += len(piece)
        yield piece
        if time.monotonic() - said >= _SAY_EVERY:
            said = time.monotonic()
            of = f" of {size / _PIECE:.0f}" if size else ""
            speed = received / _PIECE / (said - start)
            say(f"{name}: {received / _PIECE:.0f}{of} MiB, {speed:.1f} MiB/s")
    if size and received < size:
        raise OSError(f"the connection ended after {received} of {size} bytes")
    say(f"{name}: fetched, {received / _PIECE:.0f} MiB")
