"""One thing that is looked at, and how it is (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from talosmake.base.errors import TalosmakeError


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True)
class Check:
    """What was looked at, and how it is.

    :ivar fix: the command, or the edit, that fixes it.
    """

    verdict: Verdict
    what: str
    fix: str = ""


def ok(what: str) -> Check:
    """A check that found nothing to fix."""
    return Check(Verdict.OK, what)


def failed(error: TalosmakeError, verdict: Verdict = Verdict.MISSING) -> Check:
    """A check that an error ended: its hint says how to fix it."""
    return Check(verdict, error.message, error.hint)
