"""One form for each fact that people write in several (pure).

A MAC address in capitals is the same for a person, and another one for an expression in a patch
that Talos compares as text. So facts are brought into one form where they are read, and the program
and ``${NAME}`` in patches have the same text. What has none of a fact's forms stays as it is
written, for whoever checks the fact to quote.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from talosmake.inventory import endpoints, factory, known_facts

_PAIR = "[0-9a-f]{2}"
# 52:54:00:ab:cd:ef, 52-54-00-ab-cd-ef, 5254.00ab.cdef, 525400-abcdef, 525400abcdef
_MAC = re.compile(
    rf"{_PAIR}(:{_PAIR}){{5}}|{_PAIR}(-{_PAIR}){{5}}|{_PAIR}( {_PAIR}){{5}}"
    r"|[0-9a-f]{4}([.:-])[0-9a-f]{4}\4[0-9a-f]{4}|[0-9a-f]{6}[:-]?[0-9a-f]{6}"
)
_UUID = re.compile(r"(urn:uuid:)?\{?([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32})\}?")
_VERSION = re.compile(r"\d+\.\d+\.\d+[-.\w]*")
_CONTRACT = re.compile(r"v?(\d+\.\d+)(\.\d+)?")
_SHA256 = re.compile(r"(sha256:)?([0-9a-f]{64})")
_FINGERPRINT_BYTES = 32


def facts(given: Mapping[str, Any]) -> dict[str, Any]:
    """The facts, each in the one form that it has."""
    return {name: _form_of(name)(value) for name, value in given.items()}


def _as_written(text: str) -> str:
    return text


def mac(text: str) -> str:
    """A MAC address in lower case with colons, as Talos shows it."""
    lower = text.strip().lower()
    digits = re.sub(r"[^0-9a-f]", "", lower)
    return ":".join(re.findall(_PAIR, digits)) if _MAC.fullmatch(lower) else text


def uuid(text: str) -> str:
    """A UUID in lower case with hyphens, as Talos shows it."""
    found = _UUID.fullmatch(text.strip().lower())
    if not found:
        return text
    digits = found[2].replace("-", "")
    ends = (0, 8, 12, 16, 20, 32)
    return "-".join(digits[start:end] for start, end in pairwise(ends))


def address(text: str) -> str:
    """An IP address in its short form and lower case."""
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        return text


def network(text: str) -> str:
    """A network with its prefix length, also where it was written with a netmask."""
    try:
        return str(ipaddress.ip_network(text.strip())) if "/" in text else text
    except ValueError:
        return text


def _address_range(text: str) -> str:
    return "-".join(address(part.strip()) for part in text.split("-"))


def _endpoint(text: str) -> str:
    endpoint = endpoints.parsed(text.strip())
    return str(endpoint) if endpoint else text


def _url(text: str) -> str:
    """A URL of scheme, host and port in lower case, without the slash at its end."""
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return text
    if not host or port is None or parts.path not in ("", "/") or parts.query or parts.fragment:
        return text
    if "@" in parts.netloc:
        return text
    host = address(host)
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _with_v(text: str) -> str:
    version = without_v(text)
    return f"v{version}" if _VERSION.fullmatch(version) else text


def without_v(text: str) -> str:
    """A version without the v that may stand before it."""
    return re.sub(r"^[vV](?=\d)", "", text.strip())


def _contract(text: str) -> str:
    """Of a version what Talos looks at in a contract: its first two numbers."""
    found = _CONTRACT.fullmatch(text.strip().lower())
    return f"v{found[1]}" if found else text


def sha256(text: str) -> str:
    """A digest as 64 hex digits in lower case."""
    found = _SHA256.fullmatch(text.strip().lower())
    return found[2] if found else text


def fingerprint(text: str) -> str:
    """A certificate's fingerprint in base64, as Talos shows it and talosctl takes it.

    It is the SHA-256 of the public key (siderolabs/crypto: x509/fingerprint.go), which other tools
    show in hex.
    """
    digits = text.strip().replace(":", "")
    try:
        if re.fullmatch(r"[0-9a-fA-F]{64}", digits):
            content = bytes.fromhex(digits)
        else:
            padded = digits.rstrip("=") + "=" * (-len(digits.rstrip("=")) % 4)
            content = base64.b64decode(padded, altchars=None, validate=True)
    except (binascii.Error, ValueError):
        return text
    return base64.b64encode(content).decode() if len(content) == _FINGERPRINT_BYTES else text


def is_fingerprint(text: str) -> bool:
    """Whether it is one, in the form that talosctl takes."""
    try:
        return len(base64.b64decode(text, validate=True)) == _FINGERPRINT_BYTES
    except (binascii.Error, ValueError):
        return False


def name(text: str) -> str:
    """A host or domain name in lower case, without the dot at its end.

    Kubernetes makes a node's name of it in lower case, too.
    """
    return text.strip().lower().removesuffix(".")


def _is_https_endpoint(text: str) -> bool:
    """Whether it is an https URL with host and port and nothing else."""
    try:
        parts = urlsplit(text)
        whole = parts.scheme == "https" and bool(parts.hostname) and bool(parts.port)
    except ValueError:
        return False
    return whole and parts.username is None and not (parts.path or parts.query or parts.fragment)


def is_address(text: str) -> bool:
    """Whether it is an IP address, and no network."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_machine_address(text: str) -> bool:
    """Whether an address can be one machine's."""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (parsed.is_unspecified or parsed.is_multicast)


def image_factory(text: str) -> str:
    """A factory's host, with http:// before it where it has no TLS.

    Where it is none, what stands before an @ is cut out: it may be a password, and the text is
    quoted in a message.
    """
    form = text.strip().removesuffix("/").removeprefix("https://")
    return form if factory.is_named(form) else re.sub(r"[^/@]*@", "…@", text)


# By the `format` of a fact in config/schemas/facts.schema.yaml: how its one form is made ...
FORMS: Mapping[str, Callable[[str], str]] = {
    "address": address,
    "address-range": _address_range,
    "contract": _contract,
    "domain": name,
    "endpoint": _endpoint,
    "fingerprint": fingerprint,
    "host-name": name,
    "https-endpoint": _url,
    "image-factory": image_factory,
    "mac": mac,
    "network": network,
    "sha256": sha256,
    "uuid": uuid,
    "version": without_v,
    "version-with-v": _with_v,
}
# ... and what must hold for this form, where no pattern in the schema says it.
VALID: Mapping[str, Callable[[str], bool]] = {
    "endpoint": lambda text: endpoints.parsed(text) is not None,
    "fingerprint": is_fingerprint,
    "host-name": endpoints.is_host_name,
    "https-endpoint": _is_https_endpoint,
    "image-factory": factory.is_named,
    "ip-address": is_address,
    "machine-address": _is_machine_address,
}


@cache
def _form_of(fact: str) -> Callable[[str], str]:
    known = known_facts.facts().get(fact)
    return FORMS.get(known.format, _as_written) if known else _as_written
