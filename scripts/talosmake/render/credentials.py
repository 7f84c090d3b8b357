"""The client certificates that nodes are asked with: made again before they end, or when lost.

What is known of each stands in a marker beside it, so that no certificate has to be parsed to see
whether it is still good: the digest of the file, from when until when it is valid, by which CA and
for which state of the bundle it was made.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from talosmake.base import files, marker
from talosmake.base.errors import ConfigError, TalosmakeError
from talosmake.base.progress import say, warn
from talosmake.base.this_run import Memo
from talosmake.inventory import lifetimes
from talosmake.inventory.access import Access
from talosmake.inventory.model import Environment
from talosmake.secrets import bundles
from talosmake.talos import generate
from talosmake.talos.client_certificates import (
    bundle_digest,
    certificate_file,
    control_plane_endpoints,
    digest,
    facts,
    file_problem,
    marker_file,
    problem_of,
    read,
    reason,
    validity,
    wanted_facts,
    with_endpoints,
)

# What marker.write adds, or once added.
_OF_A_MARKER = ("step", "time", "talosctl")
_revisions: Memo[Path, str] = Memo("a revision, by the directory of an environment")


def _is_only_old(environment: Environment, access: Access) -> bool:
    """Whether a certificate can be used as it is, although half of its life is over."""
    said = facts(environment, access)
    since, until = validity(said)
    half = lifetimes.half_life(since, until)
    return (
        not file_problem(certificate_file(environment, access), said)
        and said.get("bundle") == bundle_digest(environment)
        and half <= datetime.now(UTC) < until
    )


def ensure(environment: Environment, access: Access = Access.ADMIN, revision: str = "") -> None:
    """Have a good talosconfig in place; one that is good already is left as it is.

    Of several processes that need a new one, one makes it.

    :param revision: what the marker is to say of the job that calls; "" for what it says already.
    :raises TalosmakeError: when one has to be made and cannot. One that is only past half of its
        life is used on then, with a warning.
    """
    if reason(environment, access):
        _replace(environment, access, revision)
    elif revision and facts(environment, access).get("revision") != revision:
        _write_marker(environment, access, revision=revision)
    if access is Access.ADMIN:
        _write_endpoints(environment)


def _replace(environment: Environment, access: Access, revision: str) -> None:
    try:
        bundle = bundles.bundle_of(environment)  # before anything is written
    except TalosmakeError as error:
        if not _is_only_old(environment, access):
            raise
        _write_marker(environment, access, revision=revision)
        warn(
            f"{environment.name}: {certificate_file(environment, access)}: "
            f"{reason(environment, access)}, and no new one can be made: {error}"
        )
        return
    files.output_directory(environment.paths.root)
    files.private_directory(environment.paths.state)
    with _locked(environment):
        if why := reason(environment, access):  # still, now that no other process makes one
            _renew(environment, access, bundle, why)
    if revision:
        _write_marker(environment, access, revision=revision)


def _renew(environment: Environment, access: Access, bundle: bytes, why: str) -> None:
    said, wanted = facts(environment, access), wanted_facts(environment, access)
    made_for = _made_for(environment, bundle)
    if _is_good_with(environment, access, {**said, **made_for}):
        # The bundle was encrypted again; what is in it is the same.
        _write_marker(environment, access, **made_for)
        return
    hours = int(str(wanted["hours"]))
    cluster = environment.cluster
    made = generate.gen_talosconfig(cluster.name, bundle, access.role, hours, cluster.talosctl)
    if access is not Access.ADMIN:
        made = generate.with_endpoints(made, control_plane_endpoints(environment))
    path = certificate_file(environment, access)
    files.write_atomically(path, made)
    _write_marker(environment, access, **_read_from(made), **made_for, **wanted)
    if said and access is Access.ADMIN:
        say(f"{environment.name}: made a new client certificate, in {path}: {why}")


def _made_for(environment: Environment, bundle: bytes) -> dict[str, object]:
    """Which bundle a certificate is made for, as its marker says it."""
    from talosmake.base import certificates  # takes a while, and is needed here only

    certs = yaml.safe_load(bundle)["certs"]
    digests = {name: certificates.ca_digest(str(certs[name]["crt"])) for name in ("os", "k8s")}
    return {"bundle": bundle_digest(environment), "bundle_cas": [digests["os"], digests["k8s"]]}


def _read_from(talosconfig: bytes) -> dict[str, object]:
    from talosmake.base import certificates

    read = certificates.of_talosconfig(talosconfig)
    return {
        "sha256": digest(talosconfig),
        "since": read.since.isoformat(),
        "until": read.until.isoformat(),
        "ca": read.ca,
    }


def _is_good_with(environment: Environment, access: Access, recorded: Mapping[str, object]) -> bool:
    """Whether a certificate that is there fits a bundle, of which only the form is another one."""
    cas = recorded.get("bundle_cas")
    return (
        isinstance(cas, list)
        and recorded.get("ca") == cas[0]
        and not problem_of(environment, access, recorded)
    )


def looking(environment: Environment, access: Access) -> Environment:
    """The environment for a step that only looks: its nodes are asked with no more than it needs.

    Where the bundle cannot be decrypted, with the talosconfig that is there.

    :raises TalosmakeError: when there is none.
    """
    try:
        ensure(environment, access)
    except TalosmakeError as error:
        if not environment.paths.talosconfig.exists():
            raise
        warn(
            f"{environment.name}: no certificate for {access.role} can be made, so nodes are asked "
            f"with {environment.paths.talosconfig}: {error.message}"
        )
        return environment
    return replace(environment, access=access)


def revision(environment: Environment) -> str:
    """A text to be kept as a parameter of the job that writes the talosconfig.

    It stays what the marker says while all is good; if not, it is another one, and Snakemake runs
    the job. A talosconfig that is not there needs none: it is the job's output.

    Snakemake asks again while it runs the job, when files are gone; the answer stays the same.
    """
    return _revisions.of(environment.paths.root, lambda: _revision(environment))


def _revision(environment: Environment) -> str:
    path = environment.paths.talosconfig
    there = read(path)
    damaged = there is not None and there != with_endpoints(environment)
    made = marker_file(environment, Access.ADMIN)
    if damaged or reason(environment):
        # Of what is the same in the job's own process, where the output is gone already and the
        # bundle may have been made since. A marker is another one each time it is written.
        return digest(read(made) or there or b"")[:16]
    return str(facts(environment, Access.ADMIN).get("revision", ""))


@contextlib.contextmanager
def _locked(environment: Environment) -> Iterator[None]:
    """Let one process, and one thread, at a time make certificates of an environment."""
    path = environment.paths.state / "credentials.lock"
    try:
        lock = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, files.PRIVATE_FILE), "r+b")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write_marker(environment: Environment, access: Access, **changed: object) -> None:
    """Write a certificate's marker; what is not ``changed`` stays as it is in it."""
    kept = {key: v for key, v in facts(environment, access).items() if key not in _OF_A_MARKER}
    content: Any = {"step": "certificate", "revision": "", **kept, **changed}
    marker.write(marker_file(environment, access), **content)


def _write_endpoints(environment: Environment) -> None:
    """Put the control planes' addresses into the talosconfig to use; there are no nodes in it."""
    content = with_endpoints(environment)
    if content is not None and read(environment.paths.talosconfig) != content:
        files.write_atomically(environment.paths.talosconfig, content)
