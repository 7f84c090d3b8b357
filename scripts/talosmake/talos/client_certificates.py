"""What is known of the client certificates that nodes are asked with: whether they are good.

Reads files only: what is known of each stands in a marker beside it, so that no certificate has
to be parsed to see it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import yaml

from talosmake.base import marker
from talosmake.base.errors import ConfigError
from talosmake.inventory import lifetimes
from talosmake.inventory.access import Access
from talosmake.inventory.model import Environment
from talosmake.talos import generate

# A certificate for looking at machine configs lives so many hours, unless CERT_TTL is shorter.
_DAY = 24


def reason(environment: Environment, access: Access = Access.ADMIN) -> str:
    """Why a client certificate has to be made (again); "" while it is good. Reads files only."""
    return problem_of(environment, access, facts(environment, access))


def problem(environment: Environment) -> str:
    """What is wrong with the talosconfig to use, or its certificate; "" while it is good."""
    there = read(environment.paths.talosconfig)
    if there is None:
        return "it is lost"
    if there != with_endpoints(environment):
        return "it is damaged, or was not made here"
    return reason(environment)


def problem_of(environment: Environment, access: Access, recorded: Mapping[str, object]) -> str:
    """Why a certificate has to be made again, by what its marker says; "" while it is good."""
    problem = file_problem(certificate_file(environment, access), recorded)
    if problem:
        return problem
    if recorded.get("bundle") != bundle_digest(environment):
        return "it was made for another state of the secrets bundle"
    if any(recorded.get(key) != value for key, value in wanted_facts(environment, access).items()):
        return "it was made with other facts (CLUSTER_NAME, CERT_TTL, addresses)"
    outlived = lifetimes.outlived(*validity(recorded), datetime.now(UTC))
    return f"it {outlived}" if outlived else ""


def facts(environment: Environment, access: Access = Access.ADMIN) -> dict[str, object]:
    """What is known of a certificate; nothing where that is lost or damaged."""
    return said_by(marker_file(environment, access))


def said_by(path: Path) -> dict[str, object]:
    """What a marker says; nothing, instead of an error, where it is damaged: it is made again."""
    try:
        return marker.read(path)
    except ConfigError:
        return {}


def marker_file(environment: Environment, access: Access) -> Path:
    """The marker beside a talosconfig."""
    path = certificate_file(environment, access)
    return path.with_name(f"{path.name}.made")


def bundle_digest(environment: Environment) -> str:
    """The SHA-256 of the encrypted bundle as it is; "" where there is none."""
    return digest(read(environment.bundle) or b"") if environment.bundle.exists() else ""


def file_problem(path: Path, recorded: Mapping[str, object]) -> str:
    """Why a file is not the one that its marker tells of, "" if it is."""
    content = read(path)
    if content is None:
        return "it is lost" if recorded else "there is none yet"
    if not content.strip():
        return "it is empty"
    if recorded.get("sha256") != digest(content):
        return "it is damaged, or was not made here"
    return ""


def validity(recorded: Mapping[str, object]) -> tuple[datetime, datetime]:
    """From when until when a certificate is valid by its marker; long ago if that is unknown."""
    try:
        since, until = (datetime.fromisoformat(str(recorded[key])) for key in ("since", "until"))
    except (KeyError, ValueError):
        since = until = datetime.fromtimestamp(0, UTC)
    return since, until


def read(path: Path) -> bytes | None:
    """A file's bytes; None where it is not there or cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def digest(content: bytes) -> str:
    """Its SHA-256, in hex."""
    return hashlib.sha256(content).hexdigest()


def certificate_file(environment: Environment, access: Access) -> Path:
    """Where the certificate is kept: for an administrator it is apart from the endpoints."""
    paths = environment.paths
    return paths.client_certificate if access is Access.ADMIN else paths.talosconfig_for(access)


def wanted_facts(environment: Environment, access: Access) -> dict[str, object]:
    """With what a certificate is made, as its marker says it."""
    hours = environment.options.cert_hours
    if access is Access.DAY:
        hours = min(hours, _DAY)
    # The administrator's are written apart, so that they make no new certificate.
    endpoints = [] if access is Access.ADMIN else control_plane_endpoints(environment)
    name = environment.cluster.name
    return {"context": name, "role": access.role, "hours": hours, "endpoints": endpoints}


def control_plane_endpoints(environment: Environment) -> list[str]:
    """Where talosctl connects: to any of the control planes."""
    return [node.endpoint for node in environment.control_planes]


def with_endpoints(environment: Environment) -> bytes | None:
    """The talosconfig as it is to be; None where its certificate is lost or cannot be read."""
    kept = read(environment.paths.client_certificate)
    try:
        return generate.with_endpoints(kept, control_plane_endpoints(environment)) if kept else None
    except (yaml.YAMLError, TypeError, KeyError, AttributeError):
        return None
