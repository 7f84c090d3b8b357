"""The errors a person can cause or fix, as types with a hint."""

from __future__ import annotations


class TalosmakeError(Exception):
    """Something a person can fix: what is wrong, where, and what to do.

    :param message: what is wrong, in one or more lines, with file, line or key where there is one.
    :param hint: what to do about it; shown on lines of its own.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        if not self.hint:
            return self.message
        return f"{self.message}\n" + "\n".join(f"  -> {line}" for line in self.hint.splitlines())


class ConfigError(TalosmakeError):
    """config/config.yaml or a ``--config`` value is wrong."""


class InventoryError(TalosmakeError):
    """An environment, a node, or one of their files is missing or wrong."""


class PatchError(TalosmakeError):
    """A patch does not parse, names something unknown, or is refused by talosctl."""


class SecretsError(TalosmakeError):
    """A bundle, a key or an encrypted patch is missing, wrong or not encrypted."""


class ToolError(TalosmakeError):
    """An external program is missing, too old, or failed in a way that is not about the input."""


class ToolTimeoutError(ToolError):
    """An external program did not end in its time."""


class ValidationError(TalosmakeError):
    """``talosctl validate`` refuses a machine config, or a config was changed after it passed."""


class LintError(TalosmakeError):
    """Lint finds mistakes and ``strict`` is set, or ``LINT_OFF`` names no rule."""


class NodeError(TalosmakeError):
    """A node does not answer, refuses, or is not the one it should be."""


class MachineError(TalosmakeError):
    """Libvirt cannot be asked, or a virtual machine and what it needs cannot be as Git says."""


class FactoryError(TalosmakeError):
    """The Image Factory does not answer, or does not take a schematic as it is."""


class ArtifactError(TalosmakeError):
    """An artifact is damaged, was changed, is another environment's, or cannot be made."""


class BusyError(TalosmakeError):
    """Another run is at work on the same environment."""
