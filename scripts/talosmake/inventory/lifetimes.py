"""How long certificates live: as a person writes it, and when one has to be made again (pure)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction

# The units of Go, and those that Go lacks.
_SECONDS = {"y": 365 * 86400, "w": 7 * 86400, "d": 86400, "h": 3600, "m": 60, "s": 1}
_PART = re.compile(r"(\d+(?:\.\d+)?)([ywdhms])")
_HOUR = 3600


def hours(text: str) -> int:
    """A duration in hours: numbers with units, as Go writes them, with days, weeks and years.

    :param text: e.g. ``8760h``, ``365d``, ``1y`` (of 365 days) or ``1d12h``.
    :raises ValueError: when it is none, or is not of whole hours, for which talosctl makes
        certificates.
    """
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("is no duration")
    seconds = sum(Fraction(number) * _SECONDS[unit] for number, unit in parts)
    if seconds % _HOUR:
        raise ValueError("is not of whole hours")
    return int(seconds // _HOUR)


# Clocks differ, and are set back: a certificate may be so much younger than it seems.
_SKEW = timedelta(minutes=5)


def half_life(since: datetime, until: datetime) -> datetime:
    """When half of a certificate's life is over, so that it is time for a new one."""
    return since + (until - since) / 2


def outlived(since: datetime, until: datetime, now: datetime) -> str:
    """Why a certificate has to be made again because of the time; "" while it is good."""
    if now < since - _SKEW:
        return f"is not valid before {shown(since)}, and this machine's clock says {shown(now)}"
    if now >= until:
        return f"expired on {shown(until)}"
    if now >= half_life(since, until):
        return f"is past half of its life, which ends on {shown(until)}"
    return ""


def shown(moment: datetime) -> str:
    """A moment for people, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
