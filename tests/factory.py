"""A stand-in for the Image Factory on a loopback address: what it does with POST /schematics.

Ids come from the factory's own package, as they do there. Other answers are for tests of errors.
"""

from __future__ import annotations

import json
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from talosmake.base.errors import InventoryError
from talosmake.inventory.schematic import schematic_id


@dataclass
class Factory:
    """What was sent, and how the next is answered.

    :ivar sent: the schematics, with the path that each was sent to.
    :ivar answer: status and body of a wrong answer; None for the right one.
    """

    url: str = ""
    sent: list[tuple[str, str, str]] = field(default_factory=list)
    answer: tuple[int, bytes] | None = None
    hangs: threading.Event | None = None

    @property
    def host(self) -> str:
        return self.url.partition("://")[2]

    def answered(self, text: str) -> tuple[int, bytes]:
        """As the factory answers: 201 with the id, or 400 with what is wrong, as plain text."""
        if self.answer:
            return self.answer
        try:
            made = schematic_id(text, Path("schematic"))
        except InventoryError as error:
            return 400, error.message.encode()
        return 201, json.dumps({"id": made, "schematic": text}).encode()


@contextmanager
def running(certificate: Path | None = None) -> Iterator[Factory]:
    """The stand-in, at its ``url``.

    :param certificate: a file with certificate and key; with it, it has TLS.
    """
    factory = Factory()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            factory.sent.append((self.path, self.headers["Content-Type"], text))
            if factory.hangs:
                factory.hangs.wait(30)
            status, body = factory.answered(text)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"{factory.url}/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        factory.url = f"http{'s' * bool(certificate)}://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield factory
        if factory.hangs:
            factory.hangs.set()
        server.shutdown()


def main() -> None:
    """Serve until the end, for commands of the documentation; prints the address first."""
    with running() as factory:
        print(factory.host, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
