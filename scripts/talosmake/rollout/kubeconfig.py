"""The cluster's admin kubeconfig: fetched from a control plane, again before it ends or when lost.

The one that is there is kept until there is a new one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from talosmake.base import files, marker
from talosmake.base.errors import NodeError, TalosmakeError
from talosmake.base.progress import say, warn
from talosmake.base.this_run import Memo
from talosmake.base.wait import Wait
from talosmake.inventory import lifetimes
from talosmake.inventory.model import Environment
from talosmake.render import credentials
from talosmake.secrets import bundles
from talosmake.talos import client_certificates
from talosmake.talos.observe import connection_error, judged, secure_api
from talosmake.talos.talosctl import CallError, Failure

_revisions: Memo[Path, str] = Memo("a revision, by the directory of an environment")


def reason(environment: Environment) -> str:
    """Why the kubeconfig has to be fetched (again); "" while it is good. Reads files only."""
    said = facts(environment)
    problem = client_certificates.file_problem(environment.paths.kubeconfig, said)
    if problem:
        return problem
    if has_moved(environment):
        return "it leads to another endpoint than Git's"
    if said.get("bundle") != client_certificates.bundle_digest(environment):
        return "it was fetched for another state of the secrets bundle"
    outlived = lifetimes.outlived(*client_certificates.validity(said), datetime.now(UTC))
    return f"its certificate {outlived}" if outlived else ""


def facts(environment: Environment) -> dict[str, object]:
    """What is known of the kubeconfig; nothing where that is lost or damaged."""
    return client_certificates.said_by(environment.paths.kubeconfig_fetched)


def has_moved(environment: Environment) -> bool:
    """Whether there is a kubeconfig that leads to another endpoint than Git's."""
    content = client_certificates.read(environment.paths.kubeconfig)
    endpoint = environment.cluster.endpoint.encode()
    return bool(content) and b"server: " + endpoint not in (content or b"")


def revision(environment: Environment) -> str:
    """A text to be kept as a parameter of the job that fetches the kubeconfig.

    It stays what the marker says while all is good; if not, it is another one, and Snakemake runs
    the job. Snakemake asks again while it runs the job; the answer stays the same.
    """
    return _revisions.of(environment.paths.root, lambda: _revision(environment))


def _revision(environment: Environment) -> str:
    said = str(facts(environment).get("revision", ""))
    found = client_certificates.read(environment.paths.kubeconfig_fetched) or b""
    return client_certificates.digest(found)[:16] if reason(environment) else said


def write_kubeconfig(environment: Environment, revision: str) -> None:
    """Have a good kubeconfig in place; one that is good already is left as it is.

    :param revision: from :func:`revision`, for the marker.
    :raises NodeError: when it has to be fetched, and no control plane gives it. One that is only
        past half of its life is used on then, with a warning.
    """
    path = environment.paths.kubeconfig
    ca = _kubernetes_ca(environment)
    problem = _problem(environment, ca)
    if problem:
        credentials.ensure(environment)
        usable = _is_only_old(environment, ca)
        try:
            content = _fetched(environment, wait=not usable)
            _check(environment, content, ca)
        except TalosmakeError as error:
            if not usable:
                raise
            warn(
                f"{environment.name}: {path}: {problem}, and no control plane gives a new one; it "
                f"is kept as it is: {error.message}"
            )
        else:
            if path.exists():
                say(f"{environment.name}: fetched {path} again: {problem}")
            files.write_atomically(path, content)
    _write_marker(environment, revision)


def _kubernetes_ca(environment: Environment) -> str:
    from talosmake.base import certificates  # takes a while, and is needed by jobs only

    bundle: Any = yaml.safe_load(bundles.bundle_of(environment))
    return certificates.ca_digest(str(bundle["certs"]["k8s"]["crt"]))


def _problem(environment: Environment, ca: str) -> str:
    """Why the kubeconfig that is there, by what is in it, is not good; "" if it is."""
    from talosmake.base import certificates

    content = client_certificates.read(environment.paths.kubeconfig)
    if content is None:
        return "there is none"
    try:
        read = certificates.of_kubeconfig(content)
    except ValueError as error:
        return str(error)
    if read.ca != ca:
        return "it is another cluster's"
    if has_moved(environment):
        return "it leads to another endpoint than Git's"
    outlived = lifetimes.outlived(read.since, read.until, datetime.now(UTC))
    return f"its certificate {outlived}" if outlived else ""


def _is_only_old(environment: Environment, ca: str) -> bool:
    """Whether the kubeconfig can be used as it is, although half of its life is over."""
    from talosmake.base import certificates

    content = client_certificates.read(environment.paths.kubeconfig) or b""
    try:
        read = certificates.of_kubeconfig(content)
    except ValueError:
        return False
    now = datetime.now(UTC)
    return read.ca == ca and not has_moved(environment) and read.since <= now < read.until


def _check(environment: Environment, content: bytes, ca: str) -> None:
    """Refuse a kubeconfig that is not the cluster's.

    :raises NodeError: with what is wrong.
    """
    from talosmake.base import certificates

    try:
        problem = "" if certificates.of_kubeconfig(content).ca == ca else "it is by another CA"
    except ValueError as error:
        problem = str(error)
    if problem:
        raise NodeError(
            f"{environment.name}: the kubeconfig that the control planes give is not used: "
            f"{problem}",
            hint=f"The Kubernetes CA in {environment.bundle} must be the cluster's. After "
            "'talosctl rotate-ca', take the new one into the bundle.",
        )


def _fetched(environment: Environment, *, wait: bool) -> bytes:
    """A new kubeconfig, from the first control plane that gives one.

    :param wait: ask until one answers; else all of them once.
    :raises NodeError: when none does within ``NODE_TIMEOUT``, or one refuses.
    """
    timeout = environment.options.node_timeout if wait else 0
    hint = (
        f"{environment.paths.kubeconfig} is left as it is. When a control plane answers, run the "
        "same command again."
    )
    for attempt in Wait(environment.name, "a control plane to give the kubeconfig", timeout, hint):
        silent = []
        for node in environment.control_planes:
            refused = connection_error(node.endpoint)  # at once, where talosctl would try for long
            try:
                if not refused:
                    return secure_api(environment, node).kubeconfig()
            except CallError as error:
                if error.failure is not Failure.UNREACHABLE:
                    raise judged(environment, node, error) from None
                refused = error.in_short
            silent.append(f"{node.name}: {refused}")
        attempt.because("; ".join(silent))
    raise AssertionError("the loop returns or raises")


def _write_marker(environment: Environment, revision: str) -> None:
    from talosmake.base import certificates

    content = environment.paths.kubeconfig.read_bytes()
    read = certificates.of_kubeconfig(content)
    marker.write(
        environment.paths.kubeconfig_fetched,
        step="kubeconfig",
        sha256=client_certificates.digest(content),
        bundle=client_certificates.bundle_digest(environment),
        since=read.since.isoformat(),
        until=read.until.isoformat(),
        revision=revision,
    )
