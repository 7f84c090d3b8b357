"""What talosctl makes and checks without a node."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import yaml

from talosmake.base import talosctls
from talosmake.base.errors import PatchError, SecretsError, ValidationError
from talosmake.base.process import MemoryFiles, in_memory, piped
from talosmake.base.redact import without_unknown_values
from talosmake.inventory.model import Cluster, Role
from talosmake.talos.talosctl import local, run_talosctl, without_noise

# Not --config-patch: that one is applied to the bases of both roles, whichever is printed, so what
# only one of them has could not be deleted (machinery v1.13: config/bundle/bundle.go).
_PATCH_OPTIONS = {
    Role.CONTROLPLANE: "--config-patch-control-plane",
    Role.WORKER: "--config-patch-worker",
}


def gen_secrets(contract: str, version: str = "") -> bytes:
    """A new secrets bundle, for a version contract such as ``v1.13``.

    :param version: of the talosctl that makes it; "" for the default one.
    """
    arguments = ("gen", "secrets", "--talos-version", contract, "--output-file", "-")
    return local(version or talosctls.default(), *arguments).stdout


def gen_config(cluster: Cluster, role: Role, bundle: bytes, patches: Sequence[str]) -> bytes:
    """A complete machine config: the generated base with the patches applied in order.

    :raises PatchError: with talosctl's own message when it refuses the base or a patch.
    """
    with piped(bundle, *(patch.encode() for patch in patches)) as (names, descriptors):
        result = run_talosctl(
            cluster.talosctl,
            *_gen_config_arguments(cluster, names[0], str(role)),
            *(argument for name in names[1:] for argument in (_PATCH_OPTIONS[role], f"@{name}")),
            pass_fds=descriptors,
        )
    if not result.ok:
        raise PatchError(without_noise(result.stderr))
    return result.stdout


def gen_talosconfig(name: str, bundle: bytes, role: str, hours: int, version: str = "") -> bytes:
    """A new talosconfig with a client certificate of the bundle's CA. It differs at each call.

    CA, key and certificate are files in memory only.

    :param name: of its context.
    :param role: in the certificate, e.g. ``os:admin``.
    :param hours: how long it is valid.
    :param version: of the talosctl that makes it; "" for the default one.
    :raises SecretsError: when talosctl cannot use the bundle's CA.
    """
    ca, ca_key = _os_ca(bundle)
    with in_memory(ca_crt=ca, ca_key=ca_key, new_key=b"", new_csr=b"", new_crt=b"") as files:
        base, key, csr = files.path("new"), files.path("new.key"), files.path("new.csr")
        version = version or talosctls.default()
        _gen(version, files, "key", "--name", base)
        # The address is of no use in a client's certificate; talosctl wants one.
        _gen(version, files, "csr", "--key", key, "--ip", "127.0.0.1", "--roles", role)
        signing = ("--ca", files.path("ca"), "--csr", csr, "--hours", str(hours))
        _gen(version, files, "crt", "--name", base, *signing)
        made = {"ca": ca, "crt": files.read("new.crt"), "key": files.read("new.key")}
    context = {key: base64.b64encode(pem).decode() for key, pem in made.items()}
    document = {"context": name, "contexts": {name: {"endpoints": [], **context}}}
    return yaml.safe_dump(document, sort_keys=False).encode()


def _gen(version: str, files: MemoryFiles, *arguments: str) -> None:
    result = run_talosctl(version, "gen", *arguments, "--force", pass_fds=files.descriptors)
    if not result.ok:
        raise SecretsError(f"talosctl cannot use the bundle: {without_noise(result.stderr)}")


def _os_ca(bundle: bytes) -> tuple[bytes, bytes]:
    """Certificate and key of the CA of Talos's API in a bundle, as PEM."""
    try:
        pair = yaml.safe_load(bundle)["certs"]["os"]
        return base64.b64decode(pair["crt"]), base64.b64decode(pair["key"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        raise SecretsError("talosctl cannot use the bundle: it has no certs.os") from None


def _gen_config_arguments(cluster: Cluster, bundle: str, output: str) -> list[str]:
    return [
        *("gen", "config", cluster.name, cluster.endpoint),
        *("--with-secrets", bundle),
        *("--talos-version", cluster.talos_contract),
        *("--kubernetes-version", cluster.kubernetes_version),
        *("--install-image", cluster.installer_image),
        *("--with-docs=false", "--with-examples=false"),
        *("--output-types", output, "--output", "-"),
    ]


def with_endpoints(talosconfig: bytes, endpoints: Sequence[str]) -> bytes:
    """A talosconfig with these endpoints in its context, and no nodes.

    Nodes are left out on purpose: a forgotten ``-n`` then is an error, not a call to all of them.
    """
    document = yaml.safe_load(talosconfig)
    for context in document["contexts"].values():
        context["endpoints"] = list(endpoints)
        context.pop("nodes", None)
    return yaml.safe_dump(document, sort_keys=False).encode()


def validate(config: bytes, version: str) -> str:
    """``talosctl validate --mode metal``; returns its warnings, if any.

    :param version: of the talosctl that validates.
    :raises ValidationError: with talosctl's own message.
    """
    with piped(config) as ([name], descriptors):
        arguments = ("validate", "--mode", "metal", "--config", name)
        result = run_talosctl(version, *arguments, pass_fds=descriptors)
    if not result.ok:
        raise ValidationError(without_unknown_values(without_noise(result.stderr)))
    return "\n".join(line for line in result.stderr.splitlines() if line.strip())
