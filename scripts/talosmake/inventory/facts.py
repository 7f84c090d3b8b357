"""Facts as what they mean: one of several words, a number; and which may not be given.

What is wrong is told with its file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from talosmake.base.errors import InventoryError
from talosmake.inventory import envfile, known_facts
from talosmake.patches import placeholders

# A node answers in no time at all never; the others may be 0: not waited for, or not tried again.
_MORE_THAN_0 = ("CALL_TIMEOUT", "NODE_TIMEOUT")


def refuse_references(own: Mapping[str, str], others: Mapping[str, Any], path: Path) -> None:
    """Refuse values that name other facts: nothing in a value is replaced."""
    for name, value in own.items():
        if "$" in value or "{{" in value:
            known = known_facts.names() | own.keys() | others.keys()
            placeholders.check_value(name, value, f"{path}:{envfile.line_of(path, name)}", known)


def refuse_built_in(facts: Mapping[str, str], path: Path) -> None:
    """Refuse facts that the workflow sets."""
    for name in known_facts.BUILT_IN:
        if name in facts:
            raise InventoryError(
                f"{path}: {name} is set by the workflow and cannot be given",
                hint="It comes from NODE_ENDPOINT, else NODE_IP; remove the line."
                if name == "NODE_ENDPOINT_HOST"
                else "It comes from the directory's name; remove the line.",
            )


def refuse_node_only(facts: Mapping[str, str], path: Path) -> None:
    """Refuse facts for all nodes that are about one."""
    # What tells nodes apart; how large their machines are may be the same for all.
    for name in known_facts.of_a_node():
        if name in facts and not name.startswith("VM_"):
            raise InventoryError(
                f"{path}: {name} is about one node and cannot be given for all of them",
                hint="Write it into the node.env of the node that it is about, and not into "
                "cluster.env or config.yaml.",
            )


def refuse_environment_only(facts: Mapping[str, str], path: Path) -> None:
    """Refuse facts for one node that are about all."""
    for name in facts:
        if name in known_facts.of_an_environment():
            raise InventoryError(
                f"{path}: {name} is about the whole environment and cannot be given for one node",
                hint="Write it into the environment's cluster.env, for all nodes; or, if it is for "
                f"this node's patches only, give it a name of your own, e.g. MY_{name}.",
            )


def is_true(facts: Mapping[str, str], path: Path, name: str) -> bool:
    """Whether a fact says ``true``; without it, or with ``false``, it does not."""
    return one_of(facts, path, name, ("true", "false"), "false") == "true"


def one_of(
    facts: Mapping[str, str], path: Path, name: str, allowed: Iterable[str], default: str
) -> str:
    """A fact that is one of a few words.

    :param default: what counts without it.
    :raises InventoryError: when it is another.
    """
    value = facts.get(name, default)
    if value not in (known := list(allowed)):
        raise InventoryError(f"{path}: {name}={value!r}: must be one of {', '.join(known)}")
    return value


def number(facts: Mapping[str, str], path: Path, name: str, default: float) -> float:
    """A fact that is a number of seconds, or of tries.

    :param default: what counts without it.
    :raises InventoryError: when it is none, or too large or small.
    """
    whole, more = name.endswith("RETRIES"), name in _MORE_THAN_0
    try:
        value = float(facts.get(name, default))
    except ValueError:
        value = -1
    if not 0 <= value <= 86400 or (whole and not value.is_integer()) or (more and not value):
        raise InventoryError(
            f"{path}: {name}={facts[name]!r}: must be a "
            f"{'whole number of tries' if whole else 'number of seconds'} "
            f"{'above 0, and 86400 at most' if more else 'from 0 to 86400'}"
        )
    return value
