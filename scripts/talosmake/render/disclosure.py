"""What of a machine config may be shown, anywhere: the one policy, and configs shown by it.

Secret is what the bundle holds, what an encrypted patch sets, what stands at a key that says so,
and what has the form of a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from talosmake.base import files
from talosmake.base.errors import TalosmakeError
from talosmake.base.redact import (
    REDACTED,
    WORDS,
    encodings,
    forms_of,
    identifies,
    pem_lines,
    redact,
    scalars,
    secret_scalars,
    without_forms,
)
from talosmake.base.secret_keys import in_value, secret_key
from talosmake.base.this_run import Memo
from talosmake.base.yamls import lookup
from talosmake.inventory.model import Node
from talosmake.patches.patch import Patch
from talosmake.render.layers import Layer, NodeLayers
from talosmake.secrets import bundles, plain

# The nodes of an environment have most of their secrets in common.
_lines_of_values: Memo[frozenset[str], frozenset[str]] = Memo("the lines of secret values")
_forms_of_lines: Memo[frozenset[str], Sequence[str]] = Memo("the forms of secret lines")
# A document by its kind and name; the one of machine and cluster has neither.
Document = tuple[str, str]
Config = Mapping[Document, Any]
Keys = tuple[str, ...]
# Whether a line of a value is hidden, by its document and the keys to it.
Hides = Callable[[Document, Keys, str], bool]

_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_ANY = "*"
# Shorter values of a bundle or patch are no secrets by themselves: "true", "443".
_SHORTEST = 6
# What nobody takes for a password: numbers, switches, addresses, durations, sizes, devices and
# images by version.
_PLAIN = re.compile(
    r"|true|false|null|[-+]?\d{1,6}(\.\d{1,3})*|v\d+(\.\d+){1,2}|0[xo]?[0-7]{3}"
    r"|\d+(\.\d+)?(ns|us|ms|s|m|h|[kKMGT]i?B?|%)"
    r"|([0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(/\d{1,3})?|([0-9a-f]{2}:){5}[0-9a-f]{2}"
    r"|\d{1,3}(\.\d{1,3}){3}([:/]\d{1,5})?|/dev/[a-z]+\d*[a-z]?\d*"
    r"|[a-z0-9-]+(\.[a-z0-9-]+)+(/[a-z0-9._-]+)+:v?\d+\.\d+\.\d+[-.\w]*"
)
# What encrypted patches set, and stands in any config anyway: words (of paths as well), names of
# cards, the lines that each manifest has. Hidden wherever it stands it would take images and
# manifests with it, and give itself away by the gaps.
_COMMON = re.compile(
    r"enabled|disabled|default|cluster|kubernetes|kubelet|kube-system|server|client"
    r"|machine|common|workers|control_planes|patches"
    r"|en[ops]\d+([a-z]+\d+)*(\.\d+)?"
    r"|apiVersion: ([a-z0-9.-]+/)?v\d+((alpha|beta)\d+)?|kind: [A-Z][A-Za-z]+|type: Opaque"
    r"|namespace: (default|kube-system)"
    r"|(metadata|spec|data|stringData|labels|annotations|selector|template):"
)


@dataclass(frozen=True)
class Secrets:
    """What is secret in the config of one node.

    :ivar lines: lines of secret values, none too short to be told from other text; what contains
        one is hidden, wherever it stands.
    :ivar places: what encrypted patches set, whatever its value; items of lists as ``*``. Not what
        says which document it is.
    """

    lines: frozenset[str]
    places: frozenset[tuple[Document, Keys]]

    def hides(self, document: Document, keys: Keys, line: str) -> bool:
        """Whether a line of a value that Git gives is secret."""
        return (document, keys) in self.places or self.hides_text(keys, line)

    def hides_text(self, keys: Sequence[object], line: str) -> bool:
        """The same where it is known that no encrypted patch gave the value."""
        return secret_key(keys) or bool(in_value(line.strip())) or self._is_in(line)

    @cached_property
    def _by_start(self) -> Mapping[str, Sequence[str]]:
        found: dict[str, list[str]] = {}
        for secret in self.lines:
            found.setdefault(secret[:_SHORTEST], []).append(secret)
        return found

    def _is_in(self, line: str) -> bool:
        """Whether a secret stands in a line; quicker than to look for each of hundreds."""
        for start in range(len(line) - _SHORTEST + 1):
            secrets = self._by_start.get(line[start : start + _SHORTEST])
            if secrets and any(line.startswith(secret, start) for secret in secrets):
                return True
        return False

    def hides_value(self, keys: Sequence[object], value: str) -> bool:
        """Whether any line of a value is hidden that no encrypted patch gave."""
        lines = value.splitlines()
        return any(self.hides_text(keys, line) for line in lines) or bool(_hidden_in(value))

    def without(self, text: str) -> str:
        """A message without what is secret wherever it stands."""
        return without_forms(text, self._forms)

    @cached_property
    def _forms(self) -> Sequence[str]:
        return _forms_of_lines.of(self.lines, lambda: forms_of(self.lines))


def secrets_of(own: NodeLayers) -> Secrets:
    """What the bundle and encrypted patches make secret in a node's config.

    :raises SecretsError: when they cannot be decrypted.
    :raises PatchError: as :class:`talosmake.render.layers.NodeLayers`.
    """
    lines = [line for line in patch_secrets(own.node, own.patches) if not _is_common(line)]
    return secrets_in([*bundles.secret_values(own.bundle), *lines], own.encrypted)


def bundle_forms(bundle: bytes) -> list[str]:
    """What stands for a secret of the bundle, in any form: all but certificates and the public ID.

    For texts that are about other things, where a certificate is nothing to hide.
    """
    [values] = parsed(bundle).values()
    public = {lookup(pair, "crt") for pair in values["certs"].values()} | {values["cluster"]["id"]}
    secret = [value for value in scalars(values) if value not in public]
    found = [*secret, *(line for value in secret for line in pem_lines(value))]
    forms = (form for value in found for form in (value, *encodings(value)))
    return [form for form in forms if len(form) >= _SHORTEST]


def message(own: NodeLayers, text: str) -> str:
    """What a tool says of a node's config, without the values of the bundle and encrypted patches.

    Also without those that are no secrets by their form: a message names the key beside it.

    :raises SecretsError: as :func:`secrets_of`.
    :raises PatchError: as :func:`secrets_of`.
    """
    known = patch_secrets(own.node, own.patches)
    return redact(text, [*bundles.secret_values(own.bundle), *known])


def patch_secrets(node: Node, layers: Sequence[Patch]) -> list[str]:
    """The lines of the values that encrypted patches set.

    A fact that one names is no secret: it stands in the clear in an env file.

    :param layers: as they are applied: values and their form may come from facts.
    """
    values = (
        value
        for patch in layers
        if patch.secret
        for document in patch.documents
        for value in secret_scalars(document)
    )
    facts = set(node.facts.values())
    lines = (line.strip() for value in values for line in value.splitlines())
    return [line for line in lines if line not in facts]


def shown(layer: Layer, keys: Sequence[object], value: object) -> str:
    """A value that a layer sets for a message about the layer, unless it may be secret."""
    return REDACTED if layer.patch.secret or secret_key(keys) else str(value)


def _is_common(line: str) -> bool:
    """Whether what an encrypted patch sets is hidden only there: by its form it is no password.

    A number may be one.
    """
    plain = _PLAIN.fullmatch(line) is not None and not line.isdigit()
    return plain or _COMMON.fullmatch(line) is not None


def secrets_in(values: Sequence[str], patches: Sequence[Patch]) -> Secrets:
    """What is secret, by the values of the bundle and of encrypted patches, and the latter."""
    places = {
        (identity(document), keys)
        for patch in patches
        for document in patch.documents
        for keys, _ in _scalars(document, ())
        if not identifies(identity(document)[0], keys)
    }
    known = frozenset(values)
    return Secrets(_lines_of_values.of(known, lambda: _lines_of(known)), frozenset(places))


def _lines_of(values: Collection[str]) -> frozenset[str]:
    """The lines of values, and other forms of them by which a text may hold them."""
    lines = {line.strip() for value in values for line in value.splitlines()}
    lines |= {form for value in [*values, *lines] for form in encodings(value)}
    return frozenset(line for line in lines if len(line) >= _SHORTEST)


def _scalars(value: Any, keys: Keys) -> Iterator[tuple[Keys, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _scalars(item, (*keys, key))
    elif isinstance(value, list):
        for item in value:
            yield from _scalars(item, (*keys, _ANY))
    else:
        yield keys, value


def parsed(config: bytes | str) -> Config:
    """The documents of a machine config by kind and name, scalars as they are written."""
    return {identity(one): one for one in yaml.load_all(config, Loader=_Loader) if one}


def identity(document: Mapping[str, Any]) -> Document:
    """What tells a document from others of a config."""
    return str(document.get("kind", "")), str(document.get("name", ""))


def clear_lines(config: Config, hides: Hides) -> frozenset[str]:
    """The lines of a config that may be shown."""
    return frozenset(
        line
        for document, content in config.items()
        for keys, value in _scalars(content, ())
        for line in value.splitlines()
        if not hides(document, keys, line) and line.strip() not in _hidden_in(value)
    )


def _hidden_in(value: str) -> frozenset[str]:
    """The lines of a text, such as a manifest, that are secret whatever is known of them."""
    return plain.hidden_lines(value) if "\n" in value else frozenset()


def hides_unknown(secrets: Secrets, clear: Collection[str]) -> Hides:
    """What to hide of a config that may hold secrets nobody here knows: an old, or a changed one.

    A line is shown that is known from a config in Git, or that is no password by its form.

    :param clear: lines of configs in Git, old and new, that are not secret.
    """

    def hides(document: Document, keys: Keys, line: str) -> bool:
        known = line in clear or _PLAIN.fullmatch(line) is not None
        return not known or secrets.hides(document, keys, line)

    return hides


def redacted(
    config: Config, hides: Hides, label: Callable[[str], str] = lambda _: REDACTED
) -> dict[Document, Any]:
    """The config with each hidden line replaced.

    :param label: what to write in the place of a hidden line.
    """

    def shown(document: Document, value: Any, keys: Keys) -> Any:
        if isinstance(value, dict):
            return {key: shown(document, item, (*keys, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [shown(document, item, (*keys, _ANY)) for item in value]
        hidden = _hidden_in(value)

        def is_hidden(line: str) -> bool:
            return hides(document, keys, line.rstrip("\n")) or line.strip() in hidden

        return "".join(
            line
            if not line.strip() or not is_hidden(line)
            else line.replace(line.strip(), label(line.strip()))
            for line in value.splitlines(keepends=True)
        )

    return {document: shown(document, content, ()) for document, content in config.items()}


class _Dumper(yaml.SafeDumper):
    """Writes strings without quotes also where they look like numbers, texts as blocks."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as PyYAML wants it


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style)


_Dumper.add_representer(str, _text)


def text_of(document: Any) -> str:
    """A document as YAML, its keys in order."""
    return yaml.dump(document, Dumper=_Dumper, width=2**31, allow_unicode=True)


def text(config: Config) -> str:
    """A config as YAML, for people: documents and keys in order, numbers not told from strings."""
    return "---\n".join(text_of(config[document]) for document in sorted(config))


def hidden_lines(own: NodeLayers, config: bytes) -> frozenset[str]:
    """The lines of a node's rendered config that are shown nowhere, to be kept out of messages.

    :raises SecretsError: as :func:`secrets_of`.
    :raises PatchError: as :func:`secrets_of`.
    """
    whole, artifact = parsed(config), own.environment.artifact
    if artifact:
        clear = _lines(parsed(artifact.nodes[own.node.config_name].redacted))
    else:
        clear = clear_lines(whole, secrets_of(own).hides)
    return _lines(whole) - clear - WORDS


def _lines(config: Config) -> frozenset[str]:
    return clear_lines(config, lambda *_: False)


def write_applied(own: NodeLayers, config: bytes) -> None:
    """Keep what may be shown of a config that was applied, to compare with."""
    path = own.environment.paths.applied_config(own.node)
    files.private_directory(path.parent)
    files.write_atomically(path, shown_text(own, config))


def shown_text(own: NodeLayers, config: bytes) -> str:
    """What may be shown of a node's rendered config, as YAML.

    What came with an artifact is taken from there: other patches may be encrypted in Git by now.
    """
    if own.environment.artifact:
        return own.environment.artifact.nodes[own.node.config_name].redacted
    return text(redacted(parsed(config), secrets_of(own).hides))


def answer_about(own: NodeLayers, config: bytes, answer: str) -> str:
    """What a node says of a config without the secrets in it; why, if they cannot be known."""
    try:
        return redact(answer, hidden_lines(own, config))
    except TalosmakeError as error:
        return f"what it says is not shown, as it may hold secrets: {error.message}"
