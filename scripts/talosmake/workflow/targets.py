"""What a run is about, by the targets that Snakemake was called with."""

from __future__ import annotations

from collections.abc import Sequence

from talosmake.inventory import settings
from talosmake.inventory.settings import Config

# These look at the machine, and at environments only where one is named.
_OF_THE_MACHINE = frozenset(("doctor", "schemas"))


def environments(config: Config, argv: Sequence[str]) -> list[str]:
    """The names of the environments to work on.

    :param argv: how Snakemake was called.
    :raises ConfigError: where none is named and a target needs one.
    """
    if config.env is None and not config.promotes and not _OF_THE_MACHINE.isdisjoint(argv):
        return []
    return settings.selected(config)
