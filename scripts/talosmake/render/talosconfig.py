"""The client's talosconfig: its certificate kept good, its endpoints kept in line."""

from __future__ import annotations

from talosmake.base import files
from talosmake.inventory.access import Access
from talosmake.inventory.model import Environment
from talosmake.render import credentials


def write_talosconfig(environment: Environment, revision: str) -> None:
    """The talosconfig to use: endpoints are the control planes, and there are no nodes in it.

    A client certificate differs each time it is made, so one that is good is kept.

    :param revision: from :func:`credentials.revision`, for the certificate's marker.
    :raises TalosmakeError: when a certificate has to be made and cannot.
    """
    files.output_directory(environment.paths.root)
    credentials.ensure(environment, Access.ADMIN, revision)
