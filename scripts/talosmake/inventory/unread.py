"""Files below patches/ that a person means to be read and no node would get.

Reads names and nothing else, but cluster.env where a file may be one that an environment names.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from talosmake.base.errors import InventoryError, TalosmakeError
from talosmake.inventory import envfile
from talosmake.inventory.model import Role

# A layer's patches, in the order they apply.
SHARED_FILES = ("common.yaml", "common.sops.yaml")
# Facts of all nodes of a role, beside its common.yaml.
ROLE_FACTS = "common.env"
_YAML = (".yaml", ".yml")
_JSON = (".json", ".jsonc", ".json5")
_TEMPLATES = (
    *(".j2", ".jinja", ".jinja2", ".tmpl", ".tpl", ".template", ".gotmpl", ".mustache", ".erb"),
    *(".jsonnet", ".libsonnet", ".cue"),
)
_FACTS = (".env",)
# Facts that name a file or directory, and what their paths are relative to.
_NAMED_BY = ("TALOS_SCHEMATIC", "CILIUM_CHART")
# What other tools call the directories of their patches (talhelper, topf, cluster-template).
_FOR_ALL = ("global", "all", "common", "shared", "base", "generic", "default", "defaults")
_FOR_ROLE = {
    Role.CONTROLPLANE: (
        *("controller", "controllers", "controlplane", "controlplanes", "control-plane"),
        *("control-planes", "control_plane", "master", "masters", "cp", "server", "servers"),
    ),
    Role.WORKER: ("worker", "agent", "agents", "compute"),
}
_FOR_NODES = ("nodes", "node", "hosts", "machines")


def check(directory: Path, named: Collection[Path]) -> None:
    """Refuse what no node would get in the layers that an environment has, nodes' own apart.

    :param directory: of the environment, below ``patches/envs``.
    :param named: files and directories that its facts name.
    :raises InventoryError: for the first file.
    """
    _check_roles(directory)
    root = directory.parent.parent
    found = [*_of_layers(root, directory), *_of_directories(root, directory)]
    inside = {path.resolve() for path in named}
    found = [path for path in found if not _is_in(path, inside)]
    if found:
        of_nodes = {path.resolve() for path in _named_by_nodes(directory)}
        found = [path for path in found if not _is_in(path, of_nodes)]
    if any(directory not in path.parents for path in found):
        others = _named_by_others(directory)
        found = [path for path in found if not _is_in(path, others)]
    if found:
        raise _unread(found[0], directory, more=len(found) - 1)


def patch_files(directory: Path) -> list[Path]:
    """A node's patches in the order they apply: by file name.

    :raises InventoryError: for a file in its directory that would not be read.
    """
    for path in sorted(filter(_is_meant, directory.rglob("*"))):
        way = path.relative_to(directory).parts
        if any(part[0] == "." for part in way) or way == ("node.env",):
            continue
        if len(way) > 1:
            hint = f"A node's patches stand in its directory itself: move it to {directory}."
            raise InventoryError(f"{path}: is not read", hint=hint + _of_suffix(path))
        if path.suffix in _FACTS:
            raise InventoryError(
                f"{path}: is not read", hint=f"A node's facts stand in {directory / 'node.env'}."
            )
        if path.suffix != ".yaml":
            hint = _of_suffix(path).lstrip() or f"Rename it to {path.stem}.yaml."
            raise InventoryError(f"{path}: is not read", hint=hint)
    return sorted(path for path in directory.glob("*.yaml") if path.name[0] != ".")


def common(directory: Path) -> list[Path]:
    """A layer's shared patches: common.yaml, then common.sops.yaml."""
    candidates = [directory / name for name in SHARED_FILES]
    return [path for path in candidates if path.is_file()]


def _is_meant(path: Path) -> bool:
    """Whether it is a file that a person takes for one that is read; not a hidden one."""
    meant = path.suffix.lower() in (*_YAML, *_JSON, *_TEMPLATES, *_FACTS)
    return meant and path.name[0] != "." and not path.is_dir()


def _is_in(path: Path, named: Collection[Path]) -> bool:
    resolved = path.resolve()
    return any(one == resolved or one in resolved.parents for one in named)


def _check_roles(directory: Path) -> None:
    """Find directories whose names come close to a role's."""
    roles = [role.directory for role in Role]
    for entry in sorted(directory.iterdir()):
        near = get_close_matches(entry.name, roles, n=1, cutoff=0.7)
        if entry.is_dir() and near and entry.name not in roles:
            raise InventoryError(
                f"{entry}: is not read; did you mean {near[0]}?",
                hint=f"Nodes stand in {' and '.join(roles)}, one directory each.",
            )


def _of_layers(root: Path, directory: Path) -> Iterator[Path]:
    """Files that stand beside those of a layer."""
    roles = [directory / role.directory for role in Role]
    for layer in (root, directory.parent, directory, *filter(Path.is_dir, roles)):
        read = _read_in(layer, directory)
        for path in sorted(layer.iterdir()):
            if _is_meant(path) and path.name not in read:
                yield path


def _read_in(layer: Path, directory: Path) -> Sequence[str]:
    if layer == directory.parent:
        return ()
    if layer == directory:
        return (*SHARED_FILES, "cilium.yaml", "cluster.env")
    return (*SHARED_FILES, ROLE_FACTS) if layer.parent == directory else SHARED_FILES


def _of_directories(root: Path, directory: Path) -> Iterator[Path]:
    """Files in directories that are no role's."""
    known = {*(role.directory for role in Role)}
    for parent, skipped in ((root, {directory.parent.name}), (directory, known)):
        for entry in sorted(parent.iterdir()):
            if entry.is_dir() and entry.name[0] != "." and entry.name not in skipped:
                shared = parent == root
                yield from (path for path in _below(entry) if not _of_cilium(path, parent, shared))


def _below(directory: Path) -> Iterator[Path]:
    for where, directories, names in os.walk(directory):
        directories[:] = sorted(name for name in directories if name[0] != ".")
        yield from filter(_is_meant, (Path(where, name) for name in sorted(names)))


def _of_cilium(path: Path, parent: Path, shared: bool) -> bool:
    """Whether it is one of Cilium's files, which ``scripts/talosmake/render/cilium.py`` reads."""
    way = path.relative_to(parent / "cilium").parts if parent / "cilium" in path.parents else ()
    if way[:1] == ("manifests",):
        return len(way) == 2 and path.suffix in _YAML
    return shared and way in (("values.yaml",), ("values.yml",))


def _named_by_others(directory: Path) -> set[Path]:
    """What the other environments name of the files they share."""
    found = set()
    for other in directory.parent.iterdir():
        try:
            facts = envfile.read(other / "cluster.env") if other.is_dir() else {}
        except TalosmakeError:
            continue
        found |= {*named_by(facts, other), *_named_by_nodes(other)}
    return {path.resolve() for path in found}


def named_by(facts: dict[str, str], directory: Path) -> Iterable[Path]:
    """The files and directories that facts of an environment name.

    :param directory: of the environment.
    """
    schematic, chart = (facts.get(name, "") for name in _NAMED_BY)
    return [*([directory / schematic] if schematic else []), *([Path(chart)] if chart else [])]


def _named_by_nodes(directory: Path) -> Iterator[Path]:
    """The environment's files that facts of its roles and nodes name: their schematics."""
    for role in Role:
        where = directory / role.directory
        for path in (where / ROLE_FACTS, *where.glob("*/node.env")):
            try:
                name = envfile.read(path).get(_NAMED_BY[0], "")
            except TalosmakeError:
                continue
            if name:
                yield directory / name


# --- where it belongs -----------------------------------------------------------------------------


def _unread(path: Path, directory: Path, *, more: int) -> InventoryError:
    others = f", and {more} more {'file' if more == 1 else 'files'}" if more else ""
    return InventoryError(f"{path}: is not read{others}", hint=_hint(path, directory))


def _hint(path: Path, directory: Path) -> str:
    root = directory.parent.parent
    layers = [root, directory, *(directory / role.directory for role in Role)]
    if path.suffix in _FACTS:
        return (
            f"Facts of all nodes stand in {directory / 'cluster.env'}, those of a role in "
            f"{ROLE_FACTS} of its directory, those of one node in the node.env of its directory."
        )
    if root / "cilium" in path.parents or directory / "cilium" in path.parents:
        return (
            f"Cilium's values stand in {root / 'cilium/values.yaml'} and {directory}/cilium.yaml, "
            "manifests in cilium/manifests/ of either, as *.yaml." + _of_suffix(path)
        )
    if path.parent in layers:
        return _beside(path, directory)
    return _of_other_tools(path, directory) + _of_suffix(path)


def _beside(path: Path, directory: Path) -> str:
    """For a file that stands beside those of a layer."""
    meant = f"{path.stem}.yaml".lower()
    names = _read_in(path.parent, directory)
    if meant in names and path.suffix.lower() in (*_YAML, *_JSON):
        return f"Rename it to {meant}."
    layer = path.parent
    hint = f"What is for all nodes that {layer} is about goes into {layer / SHARED_FILES[0]}"
    hint += " (encrypted: common.sops.yaml), and what is for one node into its directory."
    if "cilium.yaml" in names:
        hint += "\nA schematic of the Image Factory's is named by TALOS_SCHEMATIC in cluster.env."
    return hint + _of_suffix(path)


def _of_other_tools(path: Path, directory: Path) -> str:
    """For a file in a directory that has no meaning here, but may have one to another tool."""
    root = directory.parent.parent
    inside = directory in path.parents
    where = directory if inside else root / "envs" / "<env>"
    parts = path.relative_to(directory if inside else root).parts[:-1]
    for part in reversed(parts):
        for role, names in _FOR_ROLE.items():
            if part.lower() in names:
                return f"What is for all {role.directory} goes into {where / role.directory}" + (
                    f"/{SHARED_FILES[0]}."
                )
        if part.lower() in _FOR_NODES:
            return _for_node(path, where, parts)
        if part.lower() in _FOR_ALL:
            layer = directory if inside else root
            return f"What is for all nodes goes into {layer / SHARED_FILES[0]}."
    return (
        f"What is for all environments goes into {root / SHARED_FILES[0]},\n"
        f"for all nodes of one into {where / SHARED_FILES[0]},\n"
        f"for a role into common.yaml in {where}/control_planes or {where}/workers,\n"
        "and for one node into its directory there."
    )


def _for_node(path: Path, where: Path, parts: Sequence[str]) -> str:
    """For a file of one node, named by the file or by its directory."""
    name = path.name.split(".")[0] if parts[-1].lower() in _FOR_NODES else parts[-1]
    places = [where / role.directory / name for role in Role]
    there = [place for place in places if place.is_dir()] or places
    return f"What is for one node goes into its directory: {' or '.join(map(str, there))}."


def _of_suffix(path: Path) -> str:
    """What to do about a file that is no YAML, as a line of its own."""
    if path.suffix.lower() in _JSON:
        return f"\nJSON is YAML, too: name it {path.stem}.yaml."
    if path.suffix.lower() in _TEMPLATES:
        return (
            "\nTemplates are not run: write YAML, with ${NAME} for facts of cluster.env and "
            "node.env, into a file named *.yaml."
        )
    return ""
