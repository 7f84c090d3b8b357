"""Cilium in the machine configs of control planes, as Talos documents it.

Talos docs, "Deploying Cilium CNI": method 4 (``helm``: the rendered chart as an inline manifest)
and method 5 (``job``: a Job that installs it). Made once per environment, into one layer of the
control planes, ``state/cilium.yaml``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from talosmake.base import files, merge
from talosmake.base.errors import PatchError
from talosmake.base.tools import HELM
from talosmake.base.yamls import lookup
from talosmake.inventory.model import Cilium, CniInstall, Environment, Role
from talosmake.patches import layout, placeholders
from talosmake.patches.inject import inject
from talosmake.patches.patch import Patch
from talosmake.render import cilium_installer, cilium_network, helm, manifests
from talosmake.render.manifests import Manifest

SHARED = Path("patches/cilium")
KUBEPRISM_PORT = 7445
# Names of inline manifests. Talos applies them in this order, because it sorts them by name.
_NAME = "cilium"
_ADDED = "cilium-{stem}"


def files_of(environment: Environment) -> list[Path]:
    """All files that Cilium's layer is made of, a local chart's included."""
    cilium = environment.cilium
    if cilium is None:
        return []
    chart = Path(cilium.chart)
    local = cilium.install is CniInstall.HELM and chart.exists()
    charts = _below(chart) if local else []
    return [*_values_files(environment), *_manifest_files(environment), *charts]


def _below(chart: Path) -> list[Path]:
    return sorted(path for path in chart.rglob("*") if path.is_file()) or [chart]


def _values_files(environment: Environment) -> list[Path]:
    candidates = (SHARED / "values.yaml", environment.directory / "cilium.yaml")
    for path in candidates:
        if (misnamed := path.with_suffix(".yml")).exists():
            raise PatchError(f"{misnamed}: is not read", hint=f"Rename it to {path.name}.")
    return [path for path in candidates if path.is_file()]


def _manifest_files(environment: Environment) -> list[Path]:
    """The files of manifests, in the order of their names; an environment's replace shared ones."""
    by_name: dict[str, Path] = {}
    for directory in (SHARED / "manifests", environment.directory / "cilium/manifests"):
        for path in sorted(directory.glob("*")) if directory.is_dir() else ():
            if path.suffix == ".yml" or path.name.endswith(".sops.yaml"):
                raise PatchError(
                    f"{path}: is not read",
                    hint=f"Rename it to {path.with_suffix('.yaml').name}."
                    if path.suffix == ".yml"
                    else "Manifests in machine configs are not decrypted; have a Secret made in "
                    "the cluster.",
                )
            if path.suffix == ".yaml" and path.name[0] != ".":
                by_name[path.stem] = path
    return [by_name[stem] for stem in sorted(by_name)]


def helm_version(environment: Environment) -> str:
    """The pinned version of helm that makes the layer; "" where it has no part in it."""
    cilium = environment.cilium
    return HELM.pinned if cilium and cilium.install is CniInstall.HELM else ""


def write_layer(environment: Environment) -> None:
    """Make the layer of an environment's control planes that carries Cilium.

    :raises PatchError: for values or manifests that are wrong, a chart that is not the pinned one,
        or one that makes another output each time.
    :raises ToolError: when the chart cannot be fetched, or helm is missing.
    """
    layer = render_layer(environment)
    files.output_directory(environment.paths.root)
    files.write_atomically(environment.paths.cilium, layer)


def render_layer(environment: Environment) -> str:
    """The layer as text: a patch with inline manifests."""
    cilium = environment.cilium
    if cilium is None:
        raise AssertionError("asked for where CNI_INSTALL is none")
    values = values_of(environment)
    _check_values(environment, values)
    if cilium.install is CniInstall.JOB:
        first = _installer(environment, cilium, values)
    else:
        first = _rendered_chart(environment, cilium, values)
    added = list(_added(environment))
    inlined = [first, *added]
    manifests.check(inlined)
    _check_pools(environment, added, values)
    for manifest in inlined:
        if manifests.holds_private_key(manifest.contents):
            raise PatchError(
                f"{manifest.source}: there is a private key in the manifest {manifest.name!r}",
                hint="Whoever reads the cluster's objects or a control plane's config would have "
                "it. Have it made\nin the cluster; Cilium does with hubble.tls.auto.method: "
                "cronJob.",
            )
    return _yaml(_as_patch(inlined, environment.cluster.contract))


def _as_patch(inlined: Iterable[Manifest], contract: tuple[int, int]) -> list[dict[str, Any]]:
    """The documents that bring inline manifests."""
    if contract < layout.DOCUMENTS:
        entries = [{"name": each.name, "contents": each.contents} for each in inlined]
        return [{"cluster": {"inlineManifests": entries}}]
    head = {"apiVersion": "v1alpha1", "kind": layout.INLINE_MANIFEST}
    return [{**head, "name": each.name, "manifest": each.contents} for each in inlined]


def _yaml(documents: Iterable[Any]) -> str:
    return yaml.dump_all(
        documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 30
    )


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, so that people can read them."""

    def ignore_aliases(self, data: object) -> bool:
        return True


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


# --- values ---------------------------------------------------------------------------------------


def values_of(environment: Environment) -> dict[str, Any]:
    """Cilium's Helm values, merged by jsonmerge: what follows from the cluster's subnets, then the
    shared ones, then the environment's.

    Mappings merge, everything else is replaced; a null takes a chart's default away.
    """
    return merge.merged(
        cilium_network.values_for(cilium_network.planned(environment)),
        *(_layer(environment, path) for path in _values_files(environment)),
    )


def _layer(environment: Environment, path: Path) -> dict[str, Any]:
    layer = helm.parse_values(_injected(environment, path), path)
    placeholders.check_patch(Patch(path, "", (layer,)), _text(path), environment.facts)
    if "sops" in layer:
        raise PatchError(
            f"{path}: is encrypted with sops; Cilium's values are not decrypted",
            hint="They get into the cluster as they are. Keep secrets in Secrets.",
        )
    return layer


def _injected(environment: Environment, path: Path) -> str:
    return inject(_text(path), environment.facts, path, where=str(environment.env_file))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PatchError(f"{path}: cannot be read: {reason}") from None


def _check_values(environment: Environment, values: Mapping[str, Any]) -> None:
    """Refuse values with which Cilium does not come up on Talos, or not in this cluster."""
    subnets = cilium_network.planned(environment)
    wrong = [*_wrong(values), *cilium_network.contradictions(values, subnets)]
    if wrong:
        read = " and ".join(str(path) for path in _values_files(environment)) or "no file"
        own = environment.directory / "cilium.yaml"
        raise PatchError(
            f"{environment.name}: Cilium's values (from {read}) do not fit:\n"
            + "\n".join(f"  {line}" for line in wrong),
            hint=f"Set them in {SHARED / 'values.yaml'} for all environments, or in {own} for this "
            f"one.\nWithout Cilium: CNI_INSTALL=none in {environment.env_file}.",
        )


def _wrong(values: Mapping[str, Any]) -> Iterator[str]:
    """Each value that Talos's documentation asks for and that is another."""
    if str(lookup(values, "kubeProxyReplacement")).lower() != "true":
        yield "kubeProxyReplacement: must be true, because kube-proxy is off on all nodes"
    for key in ("k8sServiceHost", "k8sServicePort"):
        if not lookup(values, key):
            yield (
                f"{key}: must be set (KubePrism: localhost and {KUBEPRISM_PORT}), because "
                "without kube-proxy nothing else leads to the API server"
            )
    if lookup(values, "cgroup", "autoMount", "enabled") is not False:
        yield "cgroup.autoMount.enabled: must be false, because Talos mounts cgroups itself"
    for container in ("ciliumAgent", "cleanCiliumState"):
        named = lookup(values, "securityContext", "capabilities", container)
        if not isinstance(named, list) or "SYS_MODULE" in named:
            yield (
                f"securityContext.capabilities.{container}: must be a list without SYS_MODULE, "
                "because Talos lets no pod load kernel modules"
            )


# --- manifests ------------------------------------------------------------------------------------


def _added(environment: Environment) -> Iterator[Manifest]:
    """A person's manifests, one entry a file; files that say nothing are left out."""
    for path in _manifest_files(environment):
        name = _name_of(path, environment.cluster.contract)
        manifest = Manifest(name, _injected(environment, path), source=str(path))
        if manifests.objects_of(manifest):
            yield manifest


def _name_of(path: Path, contract: tuple[int, int]) -> str:
    """What the inline manifest of a file is called.

    Names of documents are those of Kubernetes (RFC 1123), which have no ``_`` and no capitals.
    """
    name = _ADDED.format(stem=path.stem)
    if contract < layout.DOCUMENTS:
        return name
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")


def _check_pools(
    environment: Environment, added: Iterable[Manifest], values: Mapping[str, Any]
) -> None:
    """Refuse a pool of addresses that Cilium would give to no Service."""
    for manifest in added:
        for document in manifests.documents_of(manifest):
            useless = cilium_network.useless_pool(document, values)
            if useless:
                leave_out = environment.directory / "cilium/manifests" / Path(manifest.source).name
                raise PatchError(
                    f"{manifest.source}: CiliumLoadBalancerIPPool {useless}",
                    hint="Give it addresses of the other family (the shipped pool: POOL_FIRST and "
                    f"POOL_LAST in {environment.env_file}).\nWithout such a pool: an empty file "
                    f"{leave_out}",
                )


def _installer(environment: Environment, cilium: Cilium, values: Mapping[str, Any]) -> Manifest:
    """The Job that installs Cilium, with its rights and its values."""
    documents = cilium_installer.objects(cilium, values)
    return Manifest(_NAME, _yaml(documents), source=f"{environment.env_file} (CNI_INSTALL=job)")


def _rendered_chart(
    environment: Environment, cilium: Cilium, values: Mapping[str, Any]
) -> Manifest:
    """The chart's manifests, rendered twice: a machine config must not change by itself."""
    chart = helm.chart_path(cilium.chart, cilium.version, cilium.chart_sha256)
    version = environment.cluster.kubernetes_version
    source = f"{cilium.chart} (CNI_INSTALL=helm in {environment.env_file})"
    try:
        renders = [helm.template(chart, values, version) for _ in range(2)]
    except PatchError as error:
        read = " and ".join(str(path) for path in _values_files(environment))
        raise PatchError(
            f"{environment.name}: {error.message}",
            hint=f"The values are from {read}, later ones win.",
        ) from None
    one, again = (Manifest(_NAME, text, source) for text in renders)
    if one != again:
        differing = ", ".join(manifests.differences(one, again)) or "in comments"
        raise PatchError(
            f"{environment.name}: the chart {cilium.chart} gives another output each time: "
            f"{differing}",
            hint="The configs of the control planes would change with each render, and hold keys. "
            "Set hubble.tls.auto.method: cronJob\nin Cilium's values, so that its certificates are "
            "made in the cluster; in another chart, give what it makes\nup itself as a value.",
        )
    return one


# --- what fits to Cilium in other layers ----------------------------------------------------------


_NO_OTHER_NETWORK = f"""\
apiVersion: v1alpha1
kind: {layout.FLANNEL}
$patch: delete
---
apiVersion: v1alpha1
kind: KubeProxyConfig
enabled: false
"""


def network_layer(contract: tuple[int, int], role: Role) -> str:
    """What nodes need beside Cilium: no other network, no kube-proxy, and KubePrism.

    :param contract: KubePrism is on by itself from contract 1.6 on, and unknown before 1.5 (Talos
        docs: KubePrism).
    :param role: where network and kube-proxy are documents, workers have none of them.
    """
    if contract >= layout.DOCUMENTS:
        return _NO_OTHER_NETWORK if role is Role.CONTROLPLANE else ""
    layer: dict[str, Any] = {
        "cluster": {"network": {"cni": {"name": "none"}}, "proxy": {"disabled": True}}
    }
    if contract == (1, 5):
        layer["machine"] = {"features": {"kubePrism": {"enabled": True, "port": KUBEPRISM_PORT}}}
    return yaml.safe_dump(layer, sort_keys=False)


def check_patch(environment: Environment, patch: Patch) -> None:
    """Refuse a patch that contradicts Cilium.

    :raises PatchError: when it turns another network, kube-proxy or KubePrism's opposite on, or
        takes Cilium's manifests away.
    """
    for document in patch.documents:
        found = next(_contradictions(document), "")
        if found:
            raise PatchError(
                f"{patch.path}: {found}, but Cilium is the network of {environment.name} and "
                "replaces kube-proxy",
                hint="Remove it; the workflow sets what Cilium needs. For another network: "
                f"CNI_INSTALL=none in {environment.env_file}.",
            )


def _contradictions(document: Mapping[str, Any]) -> Iterator[str]:
    kind = layout.kind_of(document)
    if kind:
        yield from _contradicting_document(kind, document)
        return
    cni = lookup(document, *layout.CNI_NAME.places[0].keys)
    if cni not in (None, "", "none"):
        yield f"cluster.network.cni.name: {cni}"
    for setting in (layout.PROXY_DISABLED, layout.KUBE_PRISM_ENABLED):
        for keys, value in layout.found(document, setting):
            if str(value).lower() in ("false", "no", "off", "n"):
                yield f"{'.'.join(keys)}: false"
    for needed in _NEEDED:
        if lookup(document, *needed, "$patch") == "delete":
            yield f"{'.'.join(needed)}: $patch: delete"


_NEEDED = (
    ("cluster",),
    ("cluster", "network"),
    ("cluster", "network", "cni"),
    ("cluster", "proxy"),
    ("cluster", "inlineManifests"),
    ("machine", "features", "kubePrism"),
)


def _contradicting_document(kind: str, document: Mapping[str, Any]) -> Iterator[str]:
    deleted = lookup(document, "$patch") == "delete"
    name = str(lookup(document, "name") or "")
    if kind == layout.FLANNEL and not deleted:
        yield f"the document {kind}"
    elif kind in ("KubeProxyConfig", "KubePrismConfig") and deleted:
        yield f"{kind}: $patch: delete"
    elif kind == layout.INLINE_MANIFEST and deleted and f"{name}-".startswith(f"{_NAME}-"):
        yield f"{kind} {name}: $patch: delete"
    for keys, value in layout.found(document, layout.PROXY_ENABLED):
        if str(value).lower() in ("true", "yes", "on", "y"):
            yield f"{kind}: {'.'.join(keys)}: true"


def inline_manifests(patch: Patch) -> list[Manifest]:
    """The inline manifests of a patch."""
    return [
        Manifest(name, contents, source=str(patch.path), secret=patch.secret)
        for document in patch.documents
        for name, contents in layout.inline_manifests(document)
    ]
