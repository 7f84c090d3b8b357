"""With which rights nodes are asked."""

from __future__ import annotations

from enum import StrEnum


class Access(StrEnum):
    """With which client certificate nodes are asked."""

    # For steps that change nodes, and for a person: it lives as long as CERT_TTL says.
    ADMIN = "admin"
    # For looking, as far as Talos shows what is looked at to os:reader.
    READER = "reader"
    # For looking at machine configs, which Talos shows to os:admin only; it lives for a day.
    DAY = "day"

    @property
    def role(self) -> str:
        """The role in its certificate, as Talos calls it."""
        return "os:reader" if self is Access.READER else "os:admin"
