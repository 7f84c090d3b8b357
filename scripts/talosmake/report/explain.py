"""Explain: which file set each value of a node's machine config, and what it overrode."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from talosmake.base import files
from talosmake.base.errors import ConfigError, ValidationError
from talosmake.base.progress import say
from talosmake.base.redact import REDACTED, identifies
from talosmake.inventory import named
from talosmake.inventory.model import Environment, Node
from talosmake.render import disclosure, machine_config
from talosmake.render.disclosure import Document, Secrets, identity
from talosmake.render.layers import Layer, NodeLayers
from talosmake.report import provenance
from talosmake.report.provenance import Keys, Leaf, Listed, Mapped, Setting, Tree

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# What all layers are applied to: Talos's defaults with what cluster.env and the bundle give.
BASE = "(talosctl gen config)"


@dataclass(frozen=True)
class Source:
    """What a value may come from: the generated base, or a layer.

    :ivar layer: None for the base.
    """

    name: str
    layer: Layer | None = None

    def at(self, document: Document, keys: Keys) -> str:
        """The file, with the line of the key where it has one."""
        if self.layer is None or not self.layer.is_plain:
            return self.name
        # Items of lists have another place in the patch than in the config.
        upto = next((i for i, key in enumerate(keys) if isinstance(key, int)), len(keys))
        for number, content in enumerate(self.layer.patch.documents):
            if identity(content) == document and self.layer.position(number, keys[:upto]):
                return self.layer.where(number, keys[:upto])
        return self.name


@dataclass(frozen=True)
class Explanation:
    """A node's config with the origin of every value.

    :ivar sources: by the numbers that the trees name.
    :ivar secrets: what is not shown.
    """

    sources: Sequence[Source]
    documents: Mapping[Document, Tree]
    secrets: Secrets

    def shown(self, document: Document, keys: Keys, setting: Setting) -> str:
        """A value on one line, as YAML; a secret one redacted."""
        value = setting.value
        # What is empty or a switch is no secret; a number may be one.
        text = "" if isinstance(value, bool | Mapping | list | None) else str(value)
        layer = self.sources[setting.layer].layer
        encrypted = layer is not None and layer.patch.secret and not identifies(document[0], keys)
        if encrypted or (text and self.secrets.hides_value(keys, text)):
            value = REDACTED
        style = '"' if isinstance(value, str) and "\n" in value else None
        dumped = yaml.safe_dump(value, default_flow_style=True, default_style=style, width=2**31)
        return dumped.removesuffix("\n").removesuffix("\n...")

    def origin(self, document: Document, keys: Keys, leaf: Leaf) -> str:
        """What set a value, and what it overrode, on one line."""
        *before, last = leaf.history
        said = self.sources[last.layer].at(document, keys)
        over = [
            f"over {self.shown(document, keys, setting)} of "
            f"{self.sources[setting.layer].at(document, keys)}"
            for setting in reversed(before)
        ]
        return ", ".join([said, *over])


def explain(environment: Environment, node: Node) -> Explanation:
    """Let talosctl apply a node's layers one after the other, and see what each changes.

    :raises ValidationError: when the outcome is not the rendered config.
    :raises PatchError: as :func:`talosmake.render.machine_config.render`.
    """
    own = NodeLayers(environment, node)
    configs = list(machine_config.stages(own))
    if configs[-1] != environment.paths.config(node).read_bytes():
        raise ValidationError(
            f"{environment.paths.config(node)} is not what the patches now give",
            hint=f"Run: snakemake render --config env={environment.name}",
        )
    sources = [Source(BASE), *(Source(str(layer.path), layer) for layer in own.layers)]
    stages = [_documents(config) for config in configs]
    trees = {
        document: provenance.traced([stage.get(document, {}) for stage in stages])
        for document in stages[-1]
    }
    return Explanation(sources, trees, disclosure.secrets_of(own))


def _documents(config: bytes) -> dict[Document, Any]:
    return {identity(one): one for one in yaml.load_all(config, Loader=_Loader) if one}


def lines(explanation: Explanation, path: str = "") -> list[str]:
    """Each value on a line, with what set it.

    :param path: only what is below, e.g. ``machine.network`` or ``HostnameConfig``; as it is shown,
        or with dots alone.
    """
    wanted = _dots_alone(path)
    found = []
    for document, tree in explanation.documents.items():
        for keys, leaf in provenance.leaves(tree):
            way = (*_named(document), *keys)
            shown = _dotted(way)
            if not wanted or f"{_dots_alone(shown)}.".startswith(f"{wanted}."):
                value = explanation.shown(document, keys, leaf.history[-1])
                found.append(f"{shown}: {value}")
                found.append(f"    {explanation.origin(document, keys, leaf)}")
    return found


def _dots_alone(path: str) -> str:
    """The path without brackets; keys may have dots themselves, so it cannot be taken apart."""
    return re.sub(r"[.\[\]]+", ".", path).strip(".")


def _named(document: Document) -> tuple[str, ...]:
    return tuple(part for part in document if part)


def _dotted(keys: Keys) -> str:
    text = ""
    for key in keys:
        plain = isinstance(key, str) and re.fullmatch(r"[\w-]+", key)
        text += f".{key}" if plain else f"[{key}]"
    return text.removeprefix(".")


def annotated(explanation: Explanation) -> str:
    """The config as YAML, secrets redacted; a comment behind each value says what set it."""
    documents = []
    for document, tree in explanation.documents.items():
        text = "".join(f"{line}\n" for line in _yaml(explanation, document, tree, (), ""))
        documents.append(text)
    return "---\n".join(documents)


def _yaml(
    explanation: Explanation, document: Document, tree: Tree, keys: Keys, indent: str
) -> Iterator[str]:
    if isinstance(tree, Leaf):
        value = explanation.shown(document, keys, tree.history[-1])
        yield f"{indent}{value}  # {explanation.origin(document, keys, tree)}"
        return
    pairs: list[tuple[str, str | int, Tree]]
    if isinstance(tree, Mapped):
        pairs = [(_key(key), key, item) for key, item in tree.items.items()]
    else:
        pairs = [("-", index, item) for index, item in enumerate(tree.items)]
    for label, key, item in pairs:
        inner = list(_yaml(explanation, document, item, (*keys, key), ""))
        if isinstance(item, Leaf):
            yield f"{indent}{label} {inner[0]}"
        elif isinstance(tree, Listed):
            yield f"{indent}- {inner[0]}"
            yield from (f"{indent}  {line}" for line in inner[1:])
        else:
            yield f"{indent}{label}"
            yield from (f"{indent}  {line}" for line in inner)


def _key(key: str) -> str:
    dumped: str = yaml.safe_dump(key, default_flow_style=True, width=2**31)
    return dumped.removesuffix("\n").removesuffix("\n...") + ":"


def show(
    environments: Sequence[Environment],
    name: str | None,
    path: str,
) -> None:
    """Write the annotated configs, and show the values of a node that was named.

    :param name: the node; None for all, whose values are in their files only.
    :param path: only what is below it is shown; "" for all.
    :raises ConfigError: for a node or a path that is not there.
    """
    for environment in environments:
        for node in chosen(environment, name):
            explanation = explain(environment, node)
            file = environment.paths.explained(node)
            files.private_directory(file.parent)
            files.write_atomically(file, annotated(explanation))
            if name is not None:
                found = lines(explanation, path)
                if not found:
                    raise ConfigError(
                        f"{environment.name}/{node.name}: its config has no {path}",
                        hint=f"All that it has is in {file}",
                    )
                print("\n".join(found))
            say(f"{environment.name}/{node.name}: {file} (secrets redacted)")


def chosen(environment: Environment, name: str | None) -> list[Node]:
    """The nodes of that name, or all.

    :raises ConfigError: where there is none.
    """
    if name is None:
        return list(environment.nodes)
    return [named.one(environment, environment.nodes, name)]
