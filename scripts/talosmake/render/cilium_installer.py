"""The Job that installs Cilium (``CNI_INSTALL=job``), and how its rights end (pure).

It may do all that a cluster's administrator may, as what a chart makes is not known. Once it has
ended it has no right left: a CronJob empties its role.

Why not simply delete the role's binding: ``upgrade-k8s`` makes what is missing again, and then
waits until all of it is there, also for what was deleted meanwhile (go-kubernetes: ssa/cli). Talos
itself makes nothing twice (k8s.ManifestApplyController). Why a CronJob: ``upgrade-k8s`` gives the
role its rules back, and a Job that is done runs no second time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from talosmake.inventory.model import Cilium
from talosmake.render import helm

INSTALLER = "cilium-install"
# The binding of earlier versions, to cluster-admin, had the name of the others; a binding's role
# cannot be changed, so this is another one, and upgrade-k8s prunes the old one.
_RIGHTS = "cilium-install-rights"
_END = "cilium-install-end"
# For the CronJob, whose template may change. It has kubectl and no shell.
_KUBECTL_IMAGE = "registry.k8s.io/kubectl:v1.36.0"
_RBAC = "rbac.authorization.k8s.io"


def objects(cilium: Cilium, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The Kubernetes objects of the installer, in the order in which Talos makes them.

    :param values: Cilium's Helm values.
    """
    # JSON, because YAML's readers do not agree on what a plain scalar is.
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    everything = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ]
    template = {"metadata": {"labels": _labels(INSTALLER)}, "spec": _installer_pod(cilium)}
    return [
        _object("v1", "ServiceAccount", INSTALLER),
        _object(f"{_RBAC}/v1", "ClusterRole", INSTALLER, namespace="", rules=everything),
        _binding("ClusterRole", _RIGHTS, role=INSTALLER, account=INSTALLER),
        _object(
            "v1", "ConfigMap", INSTALLER, data={"version": cilium.version, "values.yaml": text}
        ),
        _object("batch/v1", "Job", INSTALLER, spec={"backoffLimit": 10, "template": template}),
        *_end(),
    ]


def _end() -> list[dict[str, Any]]:
    """What takes the installer's rights away, and may do nothing else.

    Who may patch a role may give it no right that he does not have (Kubernetes docs: RBAC,
    Privilege escalation prevention).
    """
    empty = {"apiGroups": [_RBAC], "resources": ["clusterroles"], "verbs": ["get", "patch"]}
    look = {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "watch"]}
    named = {"resourceNames": [INSTALLER]}
    return [
        _object("v1", "ServiceAccount", _END),
        _object(f"{_RBAC}/v1", "ClusterRole", _END, namespace="", rules=[{**empty, **named}]),
        _binding("ClusterRole", _END, role=_END, account=_END),
        _object(f"{_RBAC}/v1", "Role", _END, rules=[{**look, **named}]),
        _binding("Role", _END, role=_END, account=_END),
        _object(
            "batch/v1",
            "CronJob",
            _END,
            spec={
                "schedule": "@hourly",
                "concurrencyPolicy": "Forbid",
                "successfulJobsHistoryLimit": 1,
                "failedJobsHistoryLimit": 1,
                "jobTemplate": {"spec": {"backoffLimit": 2, "template": {"spec": _end_pod()}}},
            },
        ),
    ]


def _labels(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": name}


def _object(
    version: str, kind: str, name: str, *, namespace: str = helm.NAMESPACE, **content: Any
) -> dict[str, Any]:
    where = {"namespace": namespace} if namespace else {}
    metadata = {"name": name, **where, "labels": _labels(name)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


def _binding(kind: str, name: str, *, role: str, account: str) -> dict[str, Any]:
    return _object(
        f"{_RBAC}/v1",
        f"{kind}Binding",
        name,
        namespace="" if kind == "ClusterRole" else helm.NAMESPACE,
        roleRef={"apiGroup": _RBAC, "kind": kind, "name": role},
        subjects=[{"kind": "ServiceAccount", "name": account, "namespace": helm.NAMESPACE}],
    )


def _installer_pod(cilium: Cilium) -> dict[str, Any]:
    command = ["cilium", "install", "--version", "$(CILIUM_VERSION)", "--namespace", helm.NAMESPACE]
    version = {"name": INSTALLER, "key": "version"}
    # Not in the command: a Job's template cannot be changed, which would stop upgrade-k8s.
    env = [{"name": "CILIUM_VERSION", "valueFrom": {"configMapKeyRef": version}}]
    container = {
        **_container(INSTALLER, cilium.cli_image, [*command, "--values", "/values/values.yaml"]),
        "volumeMounts": [{"name": "values", "mountPath": "/values", "readOnly": True}],
    }
    container["env"] = [*env, *container["env"]]
    volumes = [{"name": "values", "configMap": {"name": INSTALLER}}]
    return _pod(INSTALLER, containers=[container], volumes=volumes)


def _end_pod() -> dict[str, Any]:
    """A pod that waits until the Job has ended, well or not, and empties its role."""
    here = ["--namespace", helm.NAMESPACE]
    job = ["kubectl", "wait", f"job/{INSTALLER}", "--for=jsonpath={.status.conditions}"]
    role = ["kubectl", "patch", "clusterrole", INSTALLER, "--type=merge", '--patch={"rules":[]}']
    return _pod(
        _END,
        initContainers=[_container("wait", _KUBECTL_IMAGE, [*job, *here, "--timeout=50m"])],
        containers=[_container("empty", _KUBECTL_IMAGE, role)],
    )


def _container(name: str, image: str, command: list[str]) -> dict[str, Any]:
    env = [
        # The API server of the control plane that the pod runs on; no Service leads there yet.
        {
            "name": "KUBERNETES_SERVICE_HOST",
            "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}},
        },
        {"name": "KUBERNETES_SERVICE_PORT", "value": "6443"},
    ]
    return {"name": name, "image": image, "command": command, "env": env}


def _pod(account: str, **content: Any) -> dict[str, Any]:
    """A pod that runs before there is a network: on a control plane, in the host's own."""
    return {
        "serviceAccountName": account,
        "restartPolicy": "OnFailure",
        "hostNetwork": True,
        "tolerations": [{"operator": "Exists"}],
        "nodeSelector": {"node-role.kubernetes.io/control-plane": ""},
        **content,
    }
