"""Images to boot from: files of the user, or fetched once into a cache and checked."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from talosmake.base import fetch, files
from talosmake.base.errors import MachineError
from talosmake.inventory.machines import Boot, Image

# Of a URL of the Image Factory's: the id of a schematic.
_OF_FACTORY = re.compile(r"/image/[0-9a-f]{64}/")


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
                hint="Get the file again; or, if it is the one you want, correct the digest.",
            )
        return path, replace(image, sha256=found)
    if image.sha256:
        kept = directory() / f"{image.sha256}-{_name(image)}"
        if not kept.exists():
            _fetch(image, kept)
        return _checked(kept, image), image
    found = _fetch_unknown(image)
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


def _checked(kept: Path, image: Image) -> Path:
    """What is kept, if it is still what its name says."""
    found = _digest_of(kept)
    if found != image.sha256:
        raise MachineError(
            f"{kept}: its SHA-256 is {found}, not the one in its name",
            hint="Remove it, and run the same command again: it is fetched again.",
        )
    return kept


def _fetch(image: Image, kept: Path) -> None:
    """Download into the cache; only what has the right digest gets its name there."""
    with fetch.alone(kept, _name(image)) as temporary:
        if kept.exists():
            return  # another run fetched it meanwhile
        found = _download(image, temporary)
        if found != image.sha256:
            raise MachineError(
                f"{image.source}: its SHA-256 is {found}, but {image.key}_SHA256 in Git is "
                f"{image.sha256}; it was thrown away",
                hint="Is the URL of the right version? Then correct the digest.",
            )
        temporary.path.replace(kept)


def _fetch_unknown(image: Image) -> str:
    """Download an image whose digest nobody knows into the cache; returns the SHA-256."""
    # Images of several versions have the same name.
    source = hashlib.sha256(image.source.encode()).hexdigest()[:12]
    place = directory() / f"unknown-{source}-{_name(image)}"
    with fetch.alone(place, _name(image)) as temporary:
        found = _download(image, temporary)
        temporary.path.replace(directory() / f"{found}-{_name(image)}")
    return found


def _download(image: Image, temporary: files.Temporary) -> str:
    """Download; returns the SHA-256 of what stands on the disk."""
    try:
        fetch.download(image.source, temporary.file, _name(image))
        temporary.file.seek(0)
        return hashlib.file_digest(temporary.file, "sha256").hexdigest()
    except OSError as error:
        place = directory() / f"{image.sha256 or 'SHA256'}-{_name(image)}"
        said = str(error.strerror or error)
        raise MachineError(
            f"{image.source} cannot be fetched: {said}",
            hint=_hint_of_factory(image, said)
            + f"Without a network: get the file elsewhere and put it to {place}"
            + ("" if image.sha256 else " (with its SHA-256 in place of that word)")
            + f",\nor anywhere and set {image.key} to its path.",
        ) from None


def _hint_of_factory(image: Image, answer: str) -> str:
    """What to do where the Image Factory knows no such schematic; "" for anything else."""
    if not (_OF_FACTORY.search(image.source) and answer.startswith("HTTP 404")):
        return ""
    return (
        "The Image Factory has images of schematics alone that it was sent. Send them:  snakemake "
        "schematics --config env=ENV submit=true\n"
    )
