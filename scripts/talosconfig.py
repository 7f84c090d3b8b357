"""The client's talosconfig: made once per bundle, its endpoints kept in line."""

from __future__ import annotations

from scripts import files, secrets, talosctl
from scripts.model import Environment


def write_client_certificate(environment: Environment) -> None:
    """Make a talosconfig for the bundle. It differs each time, so only a new bundle makes it."""
    files.output_directory(environment.paths.root)
    talosconfig = talosctl.gen_talosconfig(environment.cluster, secrets.bundle_of(environment))
    files.write_atomically(environment.paths.client_certificate, talosconfig)


def write_talosconfig(environment: Environment) -> None:
    """The talosconfig to use: endpoints are the control planes, and there are no nodes in it."""
    talosconfig = environment.paths.client_certificate.read_bytes()
    endpoints = [node.endpoint for node in environment.control_planes]
    content = talosctl.with_endpoints(talosconfig, endpoints)
    files.write_atomically(environment.paths.talosconfig, content)
