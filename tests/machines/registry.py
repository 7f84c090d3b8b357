"""The lab's read-only registry for other machines: on an address, until it is ended."""

from __future__ import annotations

import sys
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from talosmake.machines.lab_registry import Pull


class _Handler(Pull):
    def __init__(self, images: Path, *connection: object) -> None:
        self.images = images
        BaseHTTPRequestHandler.__init__(self, *connection)  # type: ignore[arg-type]


if __name__ == "__main__":
    handler = partial(_Handler, Path(sys.argv[2]))
    ThreadingHTTPServer((sys.argv[1], 80), handler).serve_forever()
