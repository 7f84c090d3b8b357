"""A read-only OCI registry on standard input and output, for one connection of a lab's node.

QEMU starts it for each connection to the address that it stands for, so there is no port to choose
and no process to look after. Endpoints: OCI distribution specification, "pull".
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler
from io import BufferedIOBase
from pathlib import Path
from typing import cast

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Pull(BaseHTTPRequestHandler):
    """What a pull asks for, from a directory of images; nothing else."""

    protocol_version = "HTTP/1.1"

    def __init__(self, images: Path) -> None:
        self.images = images
        self.rfile = cast(BufferedIOBase, sys.stdin.buffer)
        self.wfile = cast(BufferedIOBase, sys.stdout.buffer)
        self.client_address = ("node", 0)
        self.close_connection = False
        while not self.close_connection:
            self.handle_one_request()

    def do_GET(self, body: bool = True) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts == ["v2"]:
            return self._answer(b"{}", "application/json", body)
        path = self._file(parts)
        if path is None:
            return self._answer(b"", "text/plain", body, 404)
        kind = MANIFEST if "manifests" in parts else "application/octet-stream"
        return self._answer(path.read_bytes(), kind, body, digest=path.name)

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def _file(self, parts: list[str]) -> Path | None:
        """Any tag of an image gives the one that there is."""
        if len(parts) < 4 or parts[-2] not in ("manifests", "blobs"):
            return None
        path = self.images / "blobs" / parts[-1]
        if parts[-2] == "manifests" and not parts[-1].startswith("sha256:"):
            tag = self.images / "tags" / parts[-3]
            path = self.images / "blobs" / tag.read_text() if tag.exists() else tag
        return path if path.is_file() else None

    def _answer(
        self, content: bytes, kind: str, body: bool, status: int = 200, digest: str = ""
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if body:
            self.wfile.write(content)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        return


if __name__ == "__main__":
    Pull(Path(sys.argv[1]))
