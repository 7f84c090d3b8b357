"""Fetching a file once for all processes of a user, and sending a small one, by HTTP."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from talosmake.base import files
from talosmake.base.errors import ConfigError
from talosmake.base.progress import say
from talosmake.base.wait import Wait, cancelled

_MIB = 1024 * 1024
_SAY_EVERY = 5.0
# The most to wait for the next bytes of a download, in seconds.
_STALLED = 60.0
# The most to wait for another run that fetches the same, in seconds.
_OTHERS = 3600.0
# Of an answer, in bytes; and of what it says of an error, in characters.
_MOST_ANSWERED = 64 * 1024
_MOST_SHOWN = 300
_HEADERS = {"User-Agent": "talosmake", "Accept-Encoding": "identity"}


@contextlib.contextmanager
def alone(kept: Path, name: str) -> Iterator[files.Temporary]:
    """Let one process at a time fetch what becomes ``kept``; others wait until it is there.

    So look first whether ``kept`` is there now. What is written to the temporary file becomes it by
    renaming; whatever happens, nobody else writes there.

    :param name: of what is fetched, as shown.
    :raises NodeError: when the other one does not end, or this run is cancelled.
    :raises ConfigError: when it cannot be written there.
    """
    files.private_directory(kept.parent)
    other = iter(Wait(name, "another run, which fetches it,", _OTHERS))
    try:
        with files.temporary(kept, while_taken=lambda: next(other)) as temporary:
            yield temporary
    except OSError as error:
        raise ConfigError(
            f"{kept}: cannot be written: {error.strerror or error}",
            hint="Make the directory writable for you, or set TALOSMAKE_CACHE to another one.",
        ) from None


def download(url: str, file: IO[bytes], name: str) -> None:
    """Write what an http or https URL serves to a file, whole.

    :param name: of what is fetched, as shown.
    :raises OSError: with the reason in a few words; also when this run is cancelled.
    """
    # Here, because it takes 0.1 s, and most runs fetch nothing.
    import requests
    import urllib3

    try:
        with requests.get(url, stream=True, timeout=_STALLED, headers=_HEADERS) as response:
            response.raise_for_status()
            size = int(response.headers.get("Content-Length") or 0)
            # As it is served: not unpacked because a server says how the file is packed.
            pieces = response.raw.stream(_MIB, decode_content=False)
            file.writelines(_with_progress(pieces, size, name))
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise OSError(_reason(error)) from None
    file.flush()
    os.fsync(file.fileno())


def post(url: str, body: bytes, content_type: str, timeout: float) -> bytes:
    """Send something to an http or https URL; returns the answer, of some kilobytes at most.

    A redirection is not followed: what is sent is for the one who was named.

    :param timeout: the most to wait for the next bytes, in seconds.
    :raises OSError: with the reason in a few words, and what the server says of it.
    """
    import requests  # 0.1 s, and most runs send nothing
    import urllib3

    headers = {**_HEADERS, "Content-Type": content_type}
    try:
        with requests.post(
            url, data=body, headers=headers, timeout=timeout, stream=True, allow_redirects=False
        ) as response:
            answer: bytes = response.raw.read(_MOST_ANSWERED, decode_content=False)
            if not response.ok or response.is_redirect:
                raise OSError(_refusal(response.status_code, response.reason, answer))
            return answer
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise OSError(_reason(error)) from None


def _refusal(status: int, reason: str, answer: bytes) -> str:
    """Why a server took nothing; the first line of what it says, without control characters."""
    text = answer.decode(errors="replace").strip().partition("\n")[0][:_MOST_SHOWN]
    shown = "".join(char if char.isprintable() else " " for char in text).strip()
    return f"HTTP {status} {reason}" + (f": {shown}" if shown and "<" not in shown else "")


def _with_progress(pieces: Iterable[bytes], size: int, name: str) -> Iterator[bytes]:
    start = said = time.monotonic()
    received = 0
    for piece in pieces:
        if cancelled():
            raise OSError("interrupted")
        received += len(piece)
        yield piece
        if time.monotonic() - said >= _SAY_EVERY:
            said = time.monotonic()
            of = f" of {size / _MIB:.0f}" if size else ""
            speed = received / _MIB / (said - start)
            say(f"{name}: {received / _MIB:.0f}{of} MiB, {speed:.1f} MiB/s")
    say(f"{name}: fetched, {received / _MIB:.0f} MiB")


def _reason(error: BaseException) -> str:
    """Why a request failed, without the names of the library's classes."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP {response.status_code}: {response.reason}"
    deepest = error
    while cause := deepest.__cause__ or deepest.__context__:
        deepest = cause
    return str(getattr(deepest, "strerror", None) or deepest)
