"""Where each setting stands in a machine config, in both layouts of Talos (pure).

Up to contract 1.13 a config is one document of machine and cluster (v1alpha1), with few beside it.
Contract 1.14 takes it apart into documents by kind, and Talos refuses a field of v1alpha1 beside
the document of the same thing (machinery v1.14.1: config/generate, and V1Alpha1ConflictValidate in
config/types). Whatever looks for a setting asks here, and finds it wherever it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from talosmake.base.yamls import lookup

Contract = tuple[int, ...]
# The first contract whose configs are made of documents.
DOCUMENTS: Contract = (1, 14)


@dataclass(frozen=True)
class Place:
    """A place in a machine config.

    :ivar kind: of its document; "" is that of machine and cluster.
    :ivar keys: the way there in the document; none for the whole document.
    """

    kind: str
    keys: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The place as messages name it: ``cluster.id``, ``DiscoveryIdentityConfig: clusterID``."""
        return ": ".join(part for part in (self.kind, ".".join(self.keys)) if part)


@dataclass(frozen=True)
class Setting:
    """One meaning, and where it stands.

    :ivar places: that in v1alpha1 first, then that in documents.
    """

    places: tuple[Place, ...]

    def at(self, contract: Contract) -> Place:
        """Where a config of a contract has it."""
        return self.places[-1 if contract >= DOCUMENTS else 0]

    def label(self, contract: Contract) -> str:
        """How messages name it to somebody whose configs are of a contract."""
        return self.at(contract).label


def _is(legacy: str, document: str = "") -> Setting:
    """A setting by its keys in v1alpha1, and by ``Kind keys`` in documents, dots between keys."""
    kind, _, keys = document.partition(" ")
    places = [Place("", tuple(legacy.split(".")))]
    if kind:
        places.append(Place(kind, tuple(filter(None, keys.split(".")))))
    return Setting(tuple(places))


# --- which cluster, and which machine in it -------------------------------------------------------

MACHINE_TYPE = _is("machine.type")
CLUSTER_ID = _is("cluster.id", "DiscoveryIdentityConfig clusterID")
CLUSTER_SECRET = _is("cluster.secret", "DiscoveryIdentityConfig clusterSecret")
CLUSTER_NAME = _is("cluster.clusterName", "KubeClusterConfig clusterName")
ENDPOINT = _is("cluster.controlPlane.endpoint", "KubeClusterConfig endpoint")
HOSTNAME = _is("machine.network.hostname", "HostnameConfig hostname")

# --- its secrets: certificates and keys are base64 of PEM in v1alpha1, PEM in documents -----------

MACHINE_TOKEN = _is("machine.token")
BOOTSTRAP_TOKEN = _is("cluster.token")
MACHINE_CA_CRT = _is("machine.ca.crt")
MACHINE_CA_KEY = _is("machine.ca.key")
ETCD_CA_CRT = _is("cluster.etcd.ca.crt")
ETCD_CA_KEY = _is("cluster.etcd.ca.key")
KUBERNETES_CA_CRT = _is("cluster.ca.crt", "KubeAPIServerCAConfig issuingCA.cert")
KUBERNETES_CA_KEY = _is("cluster.ca.key", "KubeAPIServerCAConfig issuingCA.key")
AGGREGATOR_CA_CRT = _is("cluster.aggregatorCA.crt", "KubeAggregatorCAConfig issuingCA.cert")
AGGREGATOR_CA_KEY = _is("cluster.aggregatorCA.key", "KubeAggregatorCAConfig issuingCA.key")
SERVICE_ACCOUNT_KEY = _is(
    "cluster.serviceAccount.key", "KubeServiceAccountConfig issuer.privateKey"
)
# In documents these two are a part of Kubernetes's EncryptionConfiguration.
AESCBC_SECRET = _is("cluster.aescbcEncryptionSecret")
SECRETBOX_SECRET = _is("cluster.secretboxEncryptionSecret")

# --- installing -----------------------------------------------------------------------------------

INSTALL = _is("machine.install", "UnattendedInstallConfig")
INSTALL_IMAGE = _is("machine.install.image", "UnattendedInstallConfig installer.image")
# In documents an expression (CEL) says which disk it is, so these two are one.
INSTALL_DISK = _is(
    "machine.install.disk", "UnattendedInstallConfig provisioning.diskSelector.match"
)
INSTALL_SELECTOR = _is(
    "machine.install.diskSelector", "UnattendedInstallConfig provisioning.diskSelector.match"
)
KERNEL_ARGUMENTS = _is("machine.install.extraKernelArgs")

# --- Kubernetes -----------------------------------------------------------------------------------

KUBELET_IMAGE = _is("machine.kubelet.image", "KubeletConfig image")
API_SERVER_IMAGE = _is("cluster.apiServer.image", "KubeAPIServerConfig image")
CONTROLLER_MANAGER_IMAGE = _is(
    "cluster.controllerManager.image", "KubeControllerManagerConfig image"
)
PROXY_IMAGE = _is("cluster.proxy.image", "KubeProxyConfig image")
SCHEDULER_IMAGE = _is("cluster.scheduler.image", "KubeSchedulerConfig image")
KUBERNETES_IMAGES = (
    KUBELET_IMAGE,
    API_SERVER_IMAGE,
    CONTROLLER_MANAGER_IMAGE,
    PROXY_IMAGE,
    SCHEDULER_IMAGE,
)
REGISTER_WITH_FQDN = _is("machine.kubelet.registerWithFQDN", "KubeNodeConfig registerWithFQDN")
NODE_IP_SUBNETS = _is("machine.kubelet.nodeIP.validSubnets", "KubeNodeConfig nodeIP.validSubnets")
POD_SUBNETS = _is("cluster.network.podSubnets", "KubeNetworkConfig podSubnets")
SERVICE_SUBNETS = _is("cluster.network.serviceSubnets", "KubeNetworkConfig serviceSubnets")
# No document of Flannel's is no network of Talos's own, as ``none`` is.
CNI_NAME = _is("cluster.network.cni.name")
FLANNEL = "KubeFlannelCNIConfig"
PROXY = _is("cluster.proxy", "KubeProxyConfig")
# The one says that it is off, the other that it is on.
PROXY_DISABLED = _is("cluster.proxy.disabled")
PROXY_ENABLED = Setting((Place("KubeProxyConfig", ("enabled",)),))
# The document is only there where KubePrism is on.
KUBE_PRISM = _is("machine.features.kubePrism", "KubePrismConfig")
KUBE_PRISM_ENABLED = _is("machine.features.kubePrism.enabled")
EXTRA_MANIFESTS = _is("cluster.extraManifests", "KubeExternalManifestConfig url")
API_CERT_SANS = _is("cluster.apiServer.certSANs", "KubeAPIServerConfig certExtraSANs")
STATIC_PODS = _is("machine.pods", "KubeStaticPodConfig pod")

# --- the machine ----------------------------------------------------------------------------------

CERT_SANS = _is("machine.certSANs")
ETCD_SUBNETS = _is("cluster.etcd.advertisedSubnets")
SYSCTLS = _is("machine.sysctls", "SysctlConfig params")
ENVIRONMENT_VARIABLES = _is("machine.env", "EnvironmentConfig variables")
KERNEL_MODULES = _is("machine.kernel.modules", "KernelModuleConfig")
UDEV_RULES = _is("machine.udev", "UdevRulesConfig")

# One document each, by its name, in documents; a list of names and contents in v1alpha1.
INLINE_MANIFESTS = Place("", ("cluster", "inlineManifests"))
INLINE_MANIFEST = "KubeInlineManifestConfig"


def kind_of(document: Any) -> str:
    """The kind of a document; "" for that of machine and cluster."""
    return str(lookup(document, "kind") or "")


def found(document: Any, *settings: Setting) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The way to each of these settings that a document has, and its value.

    :param document: of a patch or of a config.
    """
    kind = kind_of(document)
    for setting in settings:
        for place in setting.places:
            value = lookup(document, *place.keys) if place.kind == kind else None
            if value is not None:
                yield place.keys, value


def values(documents: Iterable[Any], setting: Setting) -> list[Any]:
    """A setting's values in these documents, in their order."""
    return [value for document in documents for _, value in found(document, setting)]


def value(documents: Iterable[Any], setting: Setting) -> Any:
    """The first value that a setting has in a config; None where it has none, or empty ones."""
    return next((one for one in values(documents, setting) if one), None)


def inline_manifests(document: Any) -> Iterator[tuple[str, str]]:
    """Name and text of each inline manifest of a document."""
    if kind_of(document) == INLINE_MANIFEST:
        if lookup(document, "$patch") != "delete":
            yield _text(document, "name"), _text(document, "manifest")
        return
    entries = lookup(document, *INLINE_MANIFESTS.keys) if not kind_of(document) else None
    for entry in entries if isinstance(entries, list) else ():
        yield _text(entry, "name"), _text(entry, "contents")


def _text(entry: Any, key: str) -> str:
    return str(lookup(entry, key) or "")


# --- what fits together ---------------------------------------------------------------------------

# Parts of `cluster` that Talos reads on control planes only; `externalCloudProvider` is not one, as
# it sets a flag of every kubelet
# (Talos docs: reference/configuration/v1alpha1/config, ClusterConfig).
CONTROL_PLANE_ONLY = (
    "adminKubeconfig",
    "aescbcEncryptionSecret",
    "aggregatorCA",
    "allowSchedulingOnControlPlanes",
    "allowSchedulingOnMasters",
    "apiServer",
    "controllerManager",
    "coreDNS",
    "etcd",
    "extraManifestHeaders",
    "extraManifests",
    "inlineManifests",
    "proxy",
    "scheduler",
    "secretboxEncryptionSecret",
    "serviceAccount",
)
# Documents that Talos refuses on workers (machinery v1.14.1: ControlplaneOnlyDocument).
CONTROL_PLANE_KINDS = frozenset(
    (
        "KubeAPIServerConfig",
        "KubeAdmissionControlConfig",
        "KubeAggregatorCAConfig",
        "KubeAuditPolicyConfig",
        "KubeAuthenticationConfig",
        "KubeAuthorizerConfig",
        "KubeControllerManagerConfig",
        "KubeCoreDNSConfig",
        "KubeEtcdEncryptionConfig",
        "KubeFlannelCNIConfig",
        "KubeProxyConfig",
        "KubeSchedulerConfig",
        "KubeServiceAccountConfig",
        "KubeTalosAPIAccessConfig",
    )
)
# Documents that Talos takes on workers, and reads on control planes alone.
READ_ON_CONTROL_PLANES = frozenset((INLINE_MANIFEST, "KubeExternalManifestConfig"))
# What of v1alpha1 Talos refuses beside a document of each kind, or one that has a key (machinery
# v1.14.1: V1Alpha1ConflictValidate). HostnameConfig is not here: the host name's layer sees to it.
COLLISIONS: Mapping[str, tuple[str, ...]] = {
    "CRIBaseRuntimeSpecConfig": ("machine.baseRuntimeSpecOverrides",),
    "DiscoveryIdentityConfig": ("cluster.id", "cluster.secret"),
    "DiscoveryServiceConfig": ("cluster.discovery",),
    "ImageCacheConfig": ("machine.features.imageCache",),
    "KubeAPIServerCAConfig": ("cluster.ca",),
    "KubeAPIServerConfig": ("cluster.apiServer", "cluster.controlPlane.localAPIServerPort"),
    "KubeAdmissionControlConfig": ("cluster.apiServer.admissionControl",),
    "KubeAggregatorCAConfig": ("cluster.aggregatorCA",),
    "KubeAuditPolicyConfig": ("cluster.apiServer.auditPolicy",),
    "KubeClusterConfig": ("cluster.clusterName", "cluster.controlPlane.endpoint"),
    "KubeControllerManagerConfig": (
        "cluster.controllerManager",
        "machine.controlPlane.controllerManager",
    ),
    "KubeCoreDNSConfig": ("cluster.coreDNS",),
    "KubeCredentialProviderConfig": ("machine.kubelet",),
    "KubeEtcdEncryptionConfig": (
        "cluster.aescbcEncryptionSecret",
        "cluster.secretboxEncryptionSecret",
    ),
    "KubeFlannelCNIConfig": ("cluster.network",),
    "KubeNetworkConfig": ("cluster.network",),
    "KubeNodeConfig": (
        "cluster.allowSchedulingOnControlPlanes",
        "cluster.allowSchedulingOnMasters",
        "machine.kubelet.nodeIP",
        "machine.kubelet.registerWithFQDN",
        "machine.kubelet.skipNodeRegistration",
        "machine.nodeAnnotations",
        "machine.nodeLabels",
        "machine.nodeTaints",
    ),
    "KubePrismConfig": ("machine.features.kubePrism",),
    "KubeProxyConfig": ("cluster.proxy",),
    "KubeSchedulerConfig": ("cluster.scheduler", "machine.controlPlane.scheduler"),
    "KubeServiceAccountConfig": ("cluster.serviceAccount",),
    "KubeTalosAPIAccessConfig": ("machine.features.kubernetesTalosAPIAccess",),
    "KubeletConfig": ("machine.kubelet",),
    "ResolverConfig": ("machine.network.nameservers", "machine.network.searchDomains"),
    "ResolverConfig hostDNS": ("machine.features.hostDNS",),
    "UnattendedInstallConfig": ("machine.install",),
}

# The documents that `talosctl gen config` makes beside machine and cluster, by kind and name
# (machinery v1.14.1: config/generate; a test holds it against talosctl's own).
_BOTH_ROLES = (
    ("DiscoveryServiceConfig", "default"),
    ("DiscoveryIdentityConfig", ""),
    ("UnattendedInstallConfig", ""),
    ("ResolverConfig", ""),
    ("VolumeConfig", "EPHEMERAL"),
    ("FilesystemTrimConfig", ""),
    ("SecurityProfileConfig", ""),
    ("KubeClusterConfig", ""),
    ("KubeNodeConfig", ""),
    ("KubeletConfig", ""),
    ("KubeNetworkConfig", ""),
    ("KubeAPIServerCAConfig", ""),
    ("KubePrismConfig", ""),
)
_CONTROL_PLANES = (
    ("KubeAggregatorCAConfig", ""),
    ("KubeAdmissionControlConfig", "PodSecurity"),
    ("KubeAuditPolicyConfig", ""),
    ("KubeAuthenticationConfig", ""),
    ("KubeAuthorizerConfig", "node"),
    ("KubeAuthorizerConfig", "rbac"),
    ("KubeEtcdEncryptionConfig", ""),
    ("KubeServiceAccountConfig", ""),
    ("KubeAPIServerConfig", ""),
    ("KubeControllerManagerConfig", ""),
    ("KubeSchedulerConfig", ""),
    ("KubeProxyConfig", ""),
    ("KubeFlannelCNIConfig", ""),
    ("KubeCoreDNSConfig", ""),
)


def generated(contract: Contract, *, control_plane: bool) -> frozenset[tuple[str, str]]:
    """The documents, by kind and name, that configs have without any patch."""
    made = [("HostnameConfig", "")] * (contract >= (1, 12))
    if contract >= DOCUMENTS:
        made += [*_BOTH_ROLES, *(_CONTROL_PLANES if control_plane else ())]
    return frozenset(made)
