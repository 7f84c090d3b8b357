"""Where talosctl connects: an address or a DNS name, and a port if it is not Talos's own (pure).

talosctl takes ``HOST``, ``HOST:PORT`` and ``[IPv6]:PORT`` for ``-e``, and for ``-n`` with
``--insecure`` (machinery v1.13: client/connection.go, client/resolver/roundrobin.go).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

# Where the Talos API listens.
PORT = 50000
# A label of a DNS name (RFC 1123).
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"{LABEL}(\.{LABEL})*")
_MOST = 253
# With a port, IPv6 addresses stand in brackets.
_BRACKETED = re.compile(r"\[(?P<host>[^\[\]]+)\](:(?P<port>\d{1,5}))?")
_PLAIN = re.compile(r"(?P<host>[^:\[\]]+)(:(?P<port>\d{1,5}))?")


@dataclass(frozen=True)
class Endpoint:
    """A host and a port.

    :ivar host: an IP address in its short form, or a DNS name in lower case; never in brackets.
    """

    host: str
    port: int = PORT

    def __str__(self) -> str:
        """As talosctl takes it: without the port where it is Talos's own."""
        return self.host if self.port == PORT else self.with_port

    @property
    def with_port(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parsed(text: str) -> Endpoint | None:
    """The endpoint that a text names; None where it names none.

    Taken are ``10.0.1.11``, ``fd00::11``, ``[fd00::11]``, ``node.example.com``, each of them with
    ``:PORT``, where IPv6 addresses need the brackets.
    """
    address = _address(text)
    if address:
        return Endpoint(address)
    found = _BRACKETED.fullmatch(text) or _PLAIN.fullmatch(text)
    if not found:
        return None
    host = _address(found["host"])
    if text.startswith("[") and ":" not in host:
        return None
    host = host or (is_name(found["host"]) and found["host"].lower().removesuffix(".")) or ""
    port = int(found["port"] or PORT)
    return Endpoint(host, port) if host and 0 < port < 2**16 else None


def host_of(text: str) -> str:
    """The address or name in an endpoint, without its port; the text itself where it is none."""
    endpoint = parsed(text)
    return endpoint.host if endpoint else text


def is_name(text: str) -> bool:
    """Whether a text is a DNS name; one whose last part is a number is a mistyped address."""
    name = text.lower().removesuffix(".")
    last = name.rpartition(".")[2]
    return len(name) <= _MOST and bool(_NAME.fullmatch(name)) and not last.isdigit()


def is_host_name(text: str) -> bool:
    """Whether a text may be a machine's host name, with or without a domain (in lower case)."""
    return bool(re.fullmatch(LABEL, text)) or ("." in text and text[-1] != "." and is_name(text))


def short_name(host_name: str) -> str:
    """A host name without its domain.

    It is the machine's name to etcd, and to Kubernetes unless its kubelet registers with the
    whole name (Talos v1.13: controllers/etcd/spec.go, controllers/k8s/nodename.go).
    """
    return host_name.partition(".")[0]


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""
