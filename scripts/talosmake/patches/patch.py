"""What can be said about patch text without applying it (pure).

Patches go to talosctl as text; they are parsed here only to look into them, with every scalar left
as the string it was written as.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from talosmake.base.errors import PatchError
from talosmake.base.yamls import yaml_message

_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

# Documents that say nothing, as the loader shows them.
_NOTHING: tuple[object, ...] = ("", "null", "~", {}, [])


@dataclass(frozen=True)
class Patch:
    """The text of one patch file, and what it says.

    :ivar documents: its YAML documents, empty ones left out; scalars are strings.
    :ivar secret: it came out of an encrypted file, so no message may quote it.
    """

    path: Path
    text: str
    documents: tuple[dict[str, Any], ...]
    secret: bool = False


@lru_cache(maxsize=64)  # layers that nodes share
def parse(text: str, path: Path, *, secret: bool = False) -> Patch:
    """Parse patch text.

    :raises PatchError: when it is no YAML, or not made of mappings (a JSON6902 patch, say).
    """
    try:
        documents = [doc for doc in yaml.load_all(text, Loader=_Loader) if doc not in _NOTHING]
    except yaml.YAMLError as error:
        raise PatchError(yaml_message(error, path)) from None
    for document in documents:
        if isinstance(document, list):
            raise PatchError(
                f"{path}: a JSON6902 patch (a list of operations) does not work here",
                hint="Talos 1.12 and newer make configs of several documents, which JSON6902 "
                "cannot patch. Write the keys to set as a strategic-merge patch.",
            )
        if not isinstance(document, dict):
            raise PatchError(
                f"{path}: not a patch: the document is text, not keys and values",
                hint="Write the part of the machine config that this patch sets.",
            )
    return Patch(path, text, tuple(documents), secret)


def of_kind(patches: Sequence[Patch], kind: str) -> Iterator[dict[str, Any]]:
    """All documents of a kind, over all patches."""
    for patch in patches:
        yield from (document for document in patch.documents if document.get("kind") == kind)
