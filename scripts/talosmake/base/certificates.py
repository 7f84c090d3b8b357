"""The client certificates in a talosconfig and a kubeconfig, read (pure)."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
)

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class ClientCertificate:
    """A client certificate that belongs to its key and was signed by the CA beside it.

    :ivar since: from when it is valid, in UTC.
    :ivar until: to when it is valid, in UTC.
    :ivar organizations: of its subject: Talos's roles, Kubernetes's groups.
    :ivar ca: the SHA-256 of the CA's certificate, in hex.
    """

    since: datetime
    until: datetime
    organizations: tuple[str, ...]
    ca: str


def of_talosconfig(content: bytes) -> ClientCertificate:
    """The certificate of a talosconfig's current context.

    :raises ValueError: when there is none that could be used; without anything secret in it.
    """
    document = _document(content)
    context = _at(document, "contexts", str(document.get("context", "")))
    return _certificate(_text(context, "crt"), _text(context, "key"), _text(context, "ca"))


def of_kubeconfig(content: bytes) -> ClientCertificate:
    """The certificate of a kubeconfig's current context.

    :raises ValueError: when there is none that could be used; without anything secret in it.
    """
    document = _document(content)
    context = _named(document, "contexts", str(document.get("current-context", "")), "context")
    user = _named(document, "users", str(context.get("user", "")), "user")
    cluster = _named(document, "clusters", str(context.get("cluster", "")), "cluster")
    return _certificate(
        _text(user, "client-certificate-data"),
        _text(user, "client-key-data"),
        _text(cluster, "certificate-authority-data"),
    )


def ca_digest(encoded: str) -> str:
    """The SHA-256, in hex, of a CA's certificate: PEM in base64, as bundles and configs have it.

    :raises ValueError: when it is no certificate.
    """
    return hashlib.sha256(_der(encoded, "CA certificate")).hexdigest()


def _certificate(crt: str, key: str, ca: str) -> ClientCertificate:
    certificate = _parsed(crt, "client certificate")
    authority = _parsed(ca, "CA certificate")
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        raise ValueError("its client certificate is not signed by the CA in it") from None
    _check_key(certificate, key)
    return ClientCertificate(
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        tuple(
            str(attribute.value)
            for attribute in certificate.subject.get_attributes_for_oid(
                x509.NameOID.ORGANIZATION_NAME
            )
        ),
        ca_digest(ca),
    )


def _check_key(certificate: x509.Certificate, key: str) -> None:
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        # From its bytes, because Talos's label ("ED25519 PRIVATE KEY") is not known elsewhere.
        public = load_der_private_key(_der(key, "key"), None).public_key().public_bytes(*form)
    except (ValueError, TypeError):
        raise ValueError("its key cannot be read") from None
    if public != certificate.public_key().public_bytes(*form):
        raise ValueError("its key is another certificate's")


def _parsed(encoded: str, what: str) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(_der(encoded, what))
    except ValueError:
        raise ValueError(f"its {what} cannot be read") from None


def _der(encoded: str, what: str) -> bytes:
    try:
        pem = base64.b64decode(encoded, validate=True).decode("ascii")
        [body] = re.findall(r"-----BEGIN [^-]+-----([^-]+)-----END ", pem)
        return base64.b64decode("".join(body.split()), validate=True)
    except ValueError:
        raise ValueError(f"its {what} cannot be read") from None


def _document(content: bytes) -> Mapping[str, Any]:
    try:
        document = yaml.load(content, Loader=_Loader)  # noqa: S506 - a safe loader
    except yaml.YAMLError:
        raise ValueError("it is no YAML") from None
    if not isinstance(document, dict):
        raise ValueError("it is empty" if document is None else "it holds no keys")
    return document


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _named(document: Mapping[str, Any], section: str, name: str, key: str) -> Mapping[str, Any]:
    entries = document.get(section)
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("name") == name:
            found = entry.get(key)
            return found if isinstance(found, dict) else {}
    return {}


def _text(value: Any, key: str) -> str:
    found = _at(value, key)
    if not isinstance(found, str) or not found:
        raise ValueError(f"it has no {key}")
    return found
