"""What to do about a patch that talosctl refuses, by what it says (pure).

Each remedy is followed in tests/errors/test_remedies.py.
"""

from __future__ import annotations

import re

from talosmake.inventory import versions

LINE_NUMBERS = "Line numbers count from the start of the document, after ${NAME} injection."
DELETE_ITEM = (
    "Talos deletes no key inside a list's item. Delete the item, with '$patch: delete' beside the "
    "key that names it, and write it again in a later file."
)
_ABSENT = "No earlier layer sets what it deletes; remove it, or correct the key."
# What talosctl says, and what to do. Items of lists that are not Talos's own (auditPolicy.rules)
# cannot be found by a name.
_BY_WORDS = (
    ("cannot delete an inner key", DELETE_ITEM),
    (
        "no key:val found in sequence node",
        "Delete an item by the key that names it, with '$patch: delete' beside it, or the whole "
        "list:  KEY: {$patch: delete}",
    ),
    (
        "]': lookup failed",
        f"{_ABSENT} A list in a mapping of free form (auditPolicy, extraConfig) can only be "
        "deleted as a whole.",
    ),
    ("lookup failed", _ABSENT),
)


# "SysctlConfig" "v1alpha1": not registered
_UNKNOWN_KIND = re.compile(r'"(?P<kind>\w+)" "[^"]*": not registered')


def of_refusal(message: str, talosctl: str) -> str:
    """What to do about what talosctl says of a patch.

    :param talosctl: its version.
    """
    if unknown := _UNKNOWN_KIND.search(message):
        return versions.unknown_kind(unknown["kind"], talosctl)
    return next((hint for words, hint in _BY_WORDS if words in message), LINE_NUMBERS)


def deletes_what_is_absent(message: str) -> bool:
    """Whether talosctl refuses to delete what is not there."""
    return "lookup failed" in message


def of_other_role(directory: str, nodes: str) -> str:
    """What to do with a shared patch that deletes what the nodes of one role alone have.

    :param directory: where what is for these nodes alone is written.
    :param nodes: what they are called.
    """
    return f"Only {nodes} have what it deletes: move it to {directory}/common.yaml."
