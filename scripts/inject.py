"""``${NAME}`` injection: facts from cluster.env and node.env into patch text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from scripts.errors import PatchError

# Only ${UPPER_CASE} is looked at, so that shell, nginx and Helm text is left alone.
_PLACES = "cluster.env (for the environment) or node.env (for one node)"
REFERENCE = re.compile(r"(\$?)\$\{([A-Z][A-Z0-9_]*)\}")


def inject(text: str, facts: Mapping[str, str], path: Path, *, where: str = "") -> str:
    """Replace each ``${NAME}`` in ``text`` by its fact; ``$${NAME}`` gives a literal ``${NAME}``.

    Values are put in as they are and not looked at again.

    :param path: where the text comes from, for messages only.
    :param where: the only file that can set a name; "" for cluster.env and node.env.
    :raises PatchError: for names that no fact has, all of them at once, each with its line and
        the near misses.
    """
    unknown: list[str] = []

    def replaced(match: re.Match[str]) -> str:
        escaped, name = match.groups()
        if escaped:
            return match.group()[1:]
        if name not in facts:
            unknown.append(_unknown(text, match, facts, path))
            return ""
        return facts[name]

    result = REFERENCE.sub(replaced, text)
    if unknown:
        raise PatchError(
            "\n".join(unknown),
            hint=f"Set the name in {where or _PLACES}, "
            "or write $${NAME} for a literal ${NAME}.",
        )
    return result


def _unknown(text: str, match: re.Match[str], facts: Mapping[str, str], path: Path) -> str:
    line = text.count("\n", 0, match.start()) + 1
    near = get_close_matches(match[2], facts, n=3, cutoff=0.6)
    return f"{path}:{line}: ${{{match[2]}}} is not known" + (
        f"; did you mean {' or '.join(near)}?" if near else ""
    )
