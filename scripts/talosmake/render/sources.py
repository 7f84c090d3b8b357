"""What a config is made of, as a digest of contents.

Snakemake compares times, and a file may be older than what was made without it: copied with its
time, moved there, or changed while a run was at work that had read it before. A file may also
change where none of a config's bytes do: a time-out or a comment in an env file, a recipient of a
bundle. So only what can change the bytes is in a digest; what is not known counts.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path

from talosmake.base import files
from talosmake.base.this_run import Memo
from talosmake.inventory import known_facts
from talosmake.inventory.model import Cluster, Environment, Node, Role

# What may be done to the machines, which says nothing of what they are; the talosctl that renders
# is a parameter of its own.
_NOT_RENDERED = ("protected", "talosctl_version")
_ENCRYPTED = ".sops.yaml"
# What may name a fact: ${NAME}, and what else somebody may have meant for it, which is refused once
# there is such a fact (scripts/talosmake/patches/placeholders.py).
_NAMED = re.compile(r"(?:\$[({]?|\{\{-?)[\s#!]*(?:\.Values\.|env\.|\.)?([A-Za-z_][A-Za-z0-9_-]*)")
# What sops writes below the values of each document: for whom they are encrypted, and when.
_METADATA = re.compile(rb"^sops:[ \t]*\n(?:[ \t][^\n]*(?:\n|\Z)|\n)*", re.MULTILINE)

_named: Memo[Path, frozenset[str]] = Memo("the names in a file")
_contents: Memo[tuple[Path, bool], str] = Memo("the digest of a file, by whether it is encrypted")


def of_node(environment: Environment, node: Node) -> str:
    """Of what a node's config is rendered from: cluster, host name, patches with facts, bundle."""
    bundle = [] if environment.cluster.throwaway else [environment.bundle]
    return _digest(
        [
            _cluster(environment.cluster_of(node)),
            [node.role, node.hostname, environment.cilium is not None],
            _facts_in(node.patches, node.facts),
        ],
        node.patches,
        bundle,
    )


def of_cilium(environment: Environment, paths: Iterable[Path]) -> str:
    """Of what Cilium's layer is made from.

    :param paths: its values, manifests and chart.
    """
    paths = list(paths)
    cilium = asdict(environment.cilium) if environment.cilium else {}
    used = _facts_in(paths, environment.facts)
    return _digest([_cluster(environment.cluster), cilium, used], paths)


def of_lint(environment: Environment, node: Node, paths: Iterable[Path]) -> str:
    """Of what lint looks at for one node, beside its config.

    :param paths: Cilium's values, manifests and chart.
    """
    facts = {
        name: node.facts[name]
        for name in sorted(known_facts.names() - known_facts.of_the_run())
        if name in node.facts
    }
    cilium = of_cilium(environment, paths) if node.role is Role.CONTROLPLANE else ""
    return _digest([of_node(environment, node), cilium, node.address, facts])


def names_of(environment: Environment) -> str:
    """Of the names of all facts that a person made up, which lint compares with the known ones."""
    known = known_facts.names()
    given = [environment.facts, *(node.facts for node in environment.nodes)]
    return _digest([sorted(facts.keys() - known) for facts in given])


def _cluster(cluster: Cluster) -> dict[str, object]:
    return {name: value for name, value in asdict(cluster).items() if name not in _NOT_RENDERED}


def _facts_in(paths: Iterable[Path], facts: Mapping[str, str]) -> dict[str, str]:
    """The facts that files name; all that they may name, where one of them is encrypted.

    A value may name a fact as well, and then that one counts, too.
    """
    found: dict[str, str] = {}
    ahead: set[str] = set()
    for path in paths:
        if path.name.endswith(_ENCRYPTED):
            found |= {name: facts[name] for name in facts.keys() - known_facts.of_the_run()}
        else:
            ahead |= _named_in(path)
    while ahead:
        new = {name: value for name, value in facts.items() if _plain(name) in ahead}
        ahead = {one for name in new.keys() - found.keys() for one in _names(new[name])}
        found |= new
    return found


def _digest(said: object, paths: Iterable[Path] = (), bundle: Iterable[Path] = ()) -> str:
    hashed = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode())
    for path in paths:
        content = _content(path, encrypted=path.name.endswith(_ENCRYPTED))
        hashed.update(f"\0{path}\0{content}".encode())
    for path in bundle:
        hashed.update(f"\0{path}\0{_content(path, encrypted=True)}".encode())
    return hashed.hexdigest()


def _named_in(path: Path) -> frozenset[str]:
    """What a file names, as it was when this run first asked for it."""

    def read() -> frozenset[str]:
        try:
            return _names(path.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            return frozenset()

    return _named.of(path, read)


def _names(text: str) -> frozenset[str]:
    return frozenset(map(_plain, _NAMED.findall(text)))


@cache
def _plain(name: str) -> str:
    """A name as placeholders are compared with facts: its letters and digits."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _content(path: Path, *, encrypted: bool) -> str:
    """As it was when this run first asked for it; "" for a file that is not there.

    Of an encrypted file the values count, and not for whom they are encrypted: sops takes no value
    for decrypted that another key encrypted.
    """

    def read() -> str:
        try:
            if not encrypted:
                return files.sha256_of(path)
            return hashlib.sha256(_METADATA.sub(b"", path.read_bytes())).hexdigest()
        except OSError:
            return ""

    return _contents.of((path, encrypted), read)
