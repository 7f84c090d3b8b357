"""Finding secrets in plain text in the text of a file, each with its line (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath
from typing import Any

import yaml

from talosmake.base.secret_keys import in_value, is_secret_at, is_value, signs

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Keys = tuple[str | int, ...]

# Says of a line that what looks like a secret in it is none, e.g. in a test.
ALLOWED = "pragma: allowlist " + "secret"
HINT = f"""\
Encrypt it. A patch gets another name for that:
  git mv X.yaml X.sops.yaml && sops encrypt --in-place X.sops.yaml && git add X.sops.yaml
A fact that is secret belongs into such a patch. See docs/secrets.md.
What is no secret is passed with a comment in its line: {ALLOWED}"""
_YAML = frozenset((".yaml", ".yml", ".json", ".kubeconfig", ".talosconfig"))
_YAML_NAMES = frozenset(("kubeconfig", "talosconfig"))
_ASSIGNING = frozenset((".env", ".conf", ".ini", ".toml", ".tfvars", ".properties"))
# Without such a word no YAML has a secret by its keys; looking is much quicker than parsing.
_WORDS = re.compile(r"(?i)secret|token|pass|pwd|psk|auth|key|://")
_LINE = re.compile(
    r"[ \t-]*(?:export[ \t]+)?[\"']?(?P<key>[A-Za-z][\w.-]*)[\"']?[ \t]*[:=](?P<value>.*)"
)
# Of YAML that does not parse: the value is in the lines below.
_OPENS = re.compile(r"[|>][+-]?\d?|[\[{]")
_COMMENT = re.compile(r"(^|\s)#.*")
_CERTIFICATE = re.compile(r"\s*-----BEGIN CERTIFICATE-----|LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS")


@dataclass(frozen=True)
class PlainSecret:
    """A secret in plain text.

    :ivar line: where it starts, from 1.
    :ivar last: the last line of it.
    :ivar what: what it is, never its value.
    """

    line: int
    last: int
    what: str


def findings(content: bytes, name: str) -> list[PlainSecret]:
    """What is secret in a file and in plain text; one finding a line, in their order.

    :param name: the file's name, which says how it is read.
    """
    text = _decoded(content)
    lines = text.split("\n")
    found: dict[int, PlainSecret] = {}
    for finding in (*_signs(text), *_by_keys(text, name)):
        found.setdefault(finding.line, finding)
    return [found[line] for line in sorted(found) if ALLOWED not in lines[line - 1]]


@lru_cache(maxsize=64)
def hidden_lines(value: str) -> frozenset[str]:
    """The lines of a value over several lines, such as a manifest, that hold a secret."""
    lines = value.split("\n")
    return frozenset(
        line.strip()
        for finding in (*_signs(value), *_nested(value))
        for line in lines[finding.line - 1 : finding.last]
        if line.strip()
    )


def _decoded(content: bytes) -> str:
    """As editors read it; PowerShell writes UTF-16."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    return content.decode("utf-8-sig", errors="replace")


def _signs(text: str) -> Iterator[PlainSecret]:
    for start, what in signs(text):
        line = text.count("\n", 0, start) + 1
        yield PlainSecret(line, line, what)


def _by_keys(text: str, name: str) -> Iterator[PlainSecret]:
    path = PurePath(name.lower())
    # Also of wg.yaml.bak and .env.local.
    suffixes = {f".{part}" for part in path.name.split(".")[1:]}
    if not _WORDS.search(text):
        return
    if suffixes & _YAML or path.name in _YAML_NAMES:
        found = _documents(text)
        yield from _assigned(text) if found is None else found
    elif suffixes & _ASSIGNING:
        yield from _assigned(text)


def _documents(text: str) -> list[PlainSecret] | None:
    """What YAML or JSON holds; None where it is neither."""
    for one in dict.fromkeys((text, text.expandtabs())):
        try:
            nodes = list(yaml.compose_all(one, Loader=_Loader))
            return [finding for node in nodes if node for finding in _Search().below(node, ())]
        except (yaml.YAMLError, RecursionError):
            continue
    return None


def _nested(text: str) -> Iterator[PlainSecret]:
    """What a text in a value holds: YAML of its own, or lines of settings."""
    if not _WORDS.search(text):
        return
    try:
        nodes = [node for node in yaml.compose_all(text, Loader=_Loader) if node]
    except (yaml.YAMLError, RecursionError):
        nodes = []
    if nodes and all(isinstance(node, yaml.CollectionNode) for node in nodes):
        for node in nodes:
            yield from _Search().below(node, ())
    else:
        yield from _assigned(text)


def _assigned(text: str) -> Iterator[PlainSecret]:
    """Lines of ``key=value`` and ``key: value``, in what nothing else reads."""
    for number, line in enumerate(text.split("\n"), start=1):
        match = _LINE.match(line)
        if match is None:
            continue
        value = _COMMENT.sub("", match["value"]).strip().rstrip(",").strip("'\"")
        if _OPENS.fullmatch(value):
            continue
        if is_secret_at((match["key"].rpartition(".")[2],)) and is_value(value):
            yield PlainSecret(number, number, f"a secret ({match['key']})")
        elif what := in_value(value):
            yield PlainSecret(number, number, what)


class _Search:
    """Goes through one document."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, Keys]] = set()

    def below(self, node: yaml.Node, keys: Keys) -> Iterator[PlainSecret]:
        """All secrets in a node.

        :param keys: the way to it.
        """
        if isinstance(node, yaml.ScalarNode):
            yield from self._scalar(node, keys)
            return
        # An anchor may be named again and again, also within itself.
        if (id(node), keys[-2:]) in self._seen:
            return
        self._seen.add((id(node), keys[-2:]))
        if isinstance(node, yaml.MappingNode):
            yield from self._mapping(node, keys)
        else:
            for number, item in enumerate(node.value):
                yield from self.below(item, (*keys, number))

    def _mapping(self, node: yaml.MappingNode, keys: Keys) -> Iterator[PlainSecret]:
        pairs = [(_key(key), value) for key, value in node.value]
        scalars = {key: str(v.value) for key, v in pairs if isinstance(v, yaml.ScalarNode)}
        is_secret = scalars.get("kind") == "Secret"
        above = keys or ((scalars["kind"],) if scalars.get("kind") else ())
        variable = scalars.get("name", "")
        for key, value in pairs:
            way = (*above, key)
            if is_secret and key in ("data", "stringData"):
                yield from self._secret(value, way)
            elif key == "value" and is_secret_at((variable,)):
                yield from self._scalar(value, (*above, variable))
            else:
                yield from self.below(value, way)

    def _secret(self, node: yaml.Node, keys: Keys) -> Iterator[PlainSecret]:
        """The values of a Kubernetes Secret; public certificates are none."""
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        for key, value in ((_key(key), value) for key, value in pairs):
            text = str(value.value) if isinstance(value, yaml.ScalarNode) else ""
            if "${" in text and "\n" in text:
                yield from self.below(value, (*keys, key))
            elif is_value(text) and not (_CERTIFICATE.match(text) and not list(signs(text))):
                yield _at(value, f"a value of a Kubernetes Secret ({key})")

    def _scalar(self, node: yaml.Node, keys: Keys) -> Iterator[PlainSecret]:
        if not isinstance(node, yaml.ScalarNode):
            return
        text = str(node.value)
        if is_secret_at(keys) and is_value(text):
            yield _at(node, f"a secret ({_dotted(keys)})")
        elif "\n" in text and keys[-1:] != ("description",):
            for finding in _nested(text):
                yield _moved(finding, node)
        elif what := in_value(text):
            yield _at(node, what)


def _key(node: yaml.Node) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else "?"


def _at(node: yaml.Node, what: str) -> PlainSecret:
    start, end = node.start_mark.line + 1, node.end_mark.line + 1
    # A block ends where the next line starts.
    return PlainSecret(start, max(start, end - (node.end_mark.column == 0)), what)


def _moved(finding: PlainSecret, node: yaml.ScalarNode) -> PlainSecret:
    """A finding in a text, with its lines in the file that the text is a value in."""
    if node.style != "|":
        return _at(node, finding.what)
    first = node.start_mark.line + 1
    return PlainSecret(first + finding.line, first + finding.last, finding.what)


def _dotted(keys: Keys) -> str:
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return text.removeprefix(".")
