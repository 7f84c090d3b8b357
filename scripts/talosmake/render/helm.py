"""The one module that calls helm."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

from talosmake.base import fetch, files
from talosmake.base.errors import PatchError, ToolError
from talosmake.base.process import Result, run
from talosmake.base.progress import say
from talosmake.base.tools import HELM, require
from talosmake.base.yamls import yaml_message
from talosmake.inventory.cilium_facts import REMOTE, is_chart

RELEASE = "cilium"
NAMESPACE = "kube-system"
_PULL_TIMEOUT = 300.0
_LOCAL_TIMEOUT = 120.0


def chart_path(chart: str, version: str, sha256: str) -> Path:
    """A chart as a file or a directory of this machine, checked against what is pinned.

    A remote chart is fetched once and kept in the cache by its digest; after that no network is
    needed.

    :param sha256: of the archive, in hex; "" for a directory.
    :raises ToolError: when it cannot be fetched.
    :raises PatchError: when it is not there, or not the one that is pinned.
    """
    path = _fetched(chart, version, sha256) if chart.startswith(REMOTE) else Path(chart)
    if not path.is_dir():
        _check_digest(path, chart, sha256)
    told = _told_version(path)
    if told != version:
        raise PatchError(
            f"{chart}: is version {told}, but CILIUM_VERSION is {version}",
            hint="Set CILIUM_VERSION in cluster.env to the chart's version, or take its chart.",
        )
    return path


def template(chart: Path, values: Mapping[str, Any], kubernetes_version: str) -> str:
    """``helm template``: the chart's manifests with these values, hooks included, tests left out.

    :raises PatchError: with helm's own message when it refuses chart or values.
    """
    result = _run(
        *("template", RELEASE, str(chart), "--namespace", NAMESPACE),
        *("--kube-version", kubernetes_version, "--include-crds", "--skip-tests", "--values", "-"),
        stdin=json.dumps(values).encode(),
        timeout=_LOCAL_TIMEOUT,
    )
    if not result.ok:
        raise PatchError(f"helm template refuses {chart} or its values:\n{_message(result)}")
    return result.stdout.decode()


def _fetched(chart: str, version: str, sha256: str) -> Path:
    kept = _cache() / f"{sha256}.tgz"
    if _is_whole(kept, sha256):
        return kept
    with fetch.alone(kept, f"the chart {chart}"):
        if not _is_whole(kept, sha256):
            say(f"fetching the chart {chart} {version}, once")
            _pull(chart, version, sha256, kept)
    return kept


def _is_whole(kept: Path, sha256: str) -> bool:
    return kept.exists() and files.sha256_of(kept) == sha256


def _pull(chart: str, version: str, sha256: str, kept: Path) -> None:
    """Have helm fetch a chart; for one process at a time, so that none takes another's directory.

    What a killed one left is removed.
    """
    directory = kept.with_suffix(".pull")
    shutil.rmtree(directory, ignore_errors=True)
    try:
        directory.mkdir(mode=files.PRIVATE_DIRECTORY)
        where = [chart] if is_chart(chart) else [RELEASE, "--repo", chart]
        result = _run(
            *("pull", *where, "--version", version, "--destination", str(directory)),
            timeout=_PULL_TIMEOUT,
        )
        archives = list(directory.glob("*.tgz"))
        if not result.ok or len(archives) != 1:
            raise ToolError(
                f"{chart}: version {version} of the chart cannot be fetched:\n{_message(result)}",
                hint="Once it was fetched no network is needed. A machine without one renders with "
                "CNI_INSTALL=job,\nor with a chart in Git: CILIUM_CHART=charts/cilium.tgz",
            )
        _check_digest(archives[0], chart, sha256)
        archives[0].replace(kept)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _cache() -> Path:
    """Where charts are kept, for all checkouts of this user; beside set-up's tools."""
    if os.environ.get("TALOSMAKE_CACHE"):
        return Path(os.environ["TALOSMAKE_CACHE"]).absolute() / "charts"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "talosmake/charts"


def _check_digest(archive: Path, chart: str, sha256: str) -> None:
    try:
        found = files.sha256_of(archive)
    except OSError as error:
        raise PatchError(f"{chart}: cannot be read: {error.strerror}") from None
    if found != sha256:
        raise PatchError(
            f"{chart}: is not the chart that is pinned: its SHA-256 is {found}, but "
            f"CILIUM_CHART_SHA256 is {sha256}; it is not used",
            hint="After a change of CILIUM_VERSION or CILIUM_CHART, set the new chart's digest. "
            "Otherwise find out\nwho changed the chart.",
        )


def _told_version(chart: Path) -> str:
    result = _run("show", "chart", str(chart), timeout=_LOCAL_TIMEOUT)
    if not result.ok:
        raise PatchError(f"{chart}: is no Helm chart:\n{_message(result)}")
    told = yaml.safe_load(result.stdout)
    return str(told.get("version", "")).removeprefix("v")


def _run(*arguments: str, timeout: float, stdin: bytes = b"") -> Result:
    require(HELM)
    home = tempfile.mkdtemp(prefix="talosmake-helm-")
    # Only a pull needs what the user has for helm: access to registries. Their plug-ins and
    # defaults must not change what is rendered.
    apart = {f"HELM_{name}_HOME": home for name in ("CACHE", "CONFIG", "DATA")}
    apart["HELM_PLUGINS"] = home
    try:
        return run(
            [HELM.name, *arguments],
            stdin=stdin,
            timeout=timeout,
            env={} if arguments[0] == "pull" else apart,
        )
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _message(result: Result) -> str:
    lines = result.stderr.strip().splitlines()
    shown = [line for line in lines if line.strip() and not line.startswith("Use --debug")]
    return "\n".join(shown).removeprefix("Error: ")


class _Values(yaml.SafeLoader):
    """YAML as helm reads it (sigs.k8s.io/yaml), which differs from PyYAML's in some scalars.

    22:33:44:55:01:02 and 2026-01-02 are strings, ``y`` is true, keys become strings, and a key that
    is there twice is an error.
    """

    bool_values: ClassVar[dict[str, bool]] = {
        **yaml.SafeLoader.bool_values,
        "y": True,
        "n": False,
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                problem = "a key is no text; a value that starts with { or [ needs quotes"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            if key.value in seen and not key.tag.endswith(":merge"):
                problem = f"the key {key.value!r} is there twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        made = super().construct_mapping(node, deep)
        return {_text(key): value for key, value in made.items()}


def _text(key: object) -> str:
    return json.dumps(key) if isinstance(key, bool | None) else str(key)


_NOT_HELMS = ("bool", "int", "float", "timestamp", "value")
_Values.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if tag.rpartition(":")[2] not in _NOT_HELMS]
    for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind, _form, _first in (
    ("bool", r"[yY]|[nN]|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF", "yYnNoO"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    _Values.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_form})$"), list(_first)
    )


def parse_values(text: str, path: Path) -> dict[str, Any]:
    """A file of values, as helm would read it.

    :raises PatchError: when it is no YAML, or not made of keys and values.
    """
    try:
        # The loader is a SafeLoader.
        values = yaml.load(text, Loader=_Values)  # noqa: S506
    except yaml.YAMLError as error:
        raise PatchError(yaml_message(error, path)) from None
    except ValueError as error:
        raise PatchError(f"{path}: not YAML: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise PatchError(f"{path}: must be keys and values: Cilium's Helm values")
    return values
