"""Client certificates as time, people and disks leave them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from talosmake.talos import generate

CONTRACT = "v1.13"


def age(marker: Path, since: float, until: float, certificate: Path | None = None) -> None:
    """Have a marker say that its certificate is of another time, in days from now.

    :param certificate: the file that it is of, where that was changed.
    """
    said = json.loads(marker.read_text())
    now = datetime.now(UTC)
    said["since"] = (now + timedelta(since)).isoformat()
    said["until"] = (now + timedelta(until)).isoformat()
    if certificate:
        said["sha256"] = sha256(certificate.read_bytes()).hexdigest()
    marker.write_text(json.dumps(said))


def _expired(root: Path, bundle: bytes) -> None:
    """A certificate that talosctl made to end at once."""
    kept = root / "state/talosconfig"
    kept.write_bytes(generate.gen_talosconfig("talos-test", bundle, "os:admin", 0))
    age(root / "state/talosconfig.made", -365, -0.0001, kept)
    upper = generate.with_endpoints(kept.read_bytes(), _endpoints(root))
    (root / "talosconfig").write_bytes(upper)


def _endpoints(root: Path) -> list[str]:
    import yaml

    document = yaml.safe_load((root / "talosconfig").read_text())
    [context] = document["contexts"].values()
    return [str(endpoint) for endpoint in context["endpoints"]]


def _half_over(root: Path, _: bytes) -> None:
    age(root / "state/talosconfig.made", -200, 165)


def _not_yet_valid(root: Path, _: bytes) -> None:
    age(root / "state/talosconfig.made", 1, 366)


def _foreign(root: Path, _: bytes) -> None:
    """Of another cluster of the same name, with all that is said of it."""
    other = generate.gen_secrets(CONTRACT)
    (root / "state/talosconfig").write_bytes(
        generate.gen_talosconfig("talos-test", other, "os:admin", 8760)
    )
    (root / "talosconfig").write_bytes((root / "state/talosconfig").read_bytes())


def _older_bundle(root: Path, _: bytes) -> None:
    """A whole directory that was made for another bundle."""
    _foreign(root, b"")
    marker = root / "state/talosconfig.made"
    said = json.loads(marker.read_text())
    said["bundle"] = sha256(b"another").hexdigest()
    said["ca"] = sha256(b"another CA").hexdigest()
    said["bundle_cas"] = [said["ca"], said["ca"]]
    said["sha256"] = sha256((root / "state/talosconfig").read_bytes()).hexdigest()
    marker.write_text(json.dumps(said))


def _wrong_role(root: Path, bundle: bytes) -> None:
    content = generate.gen_talosconfig("talos-test", bundle, "os:reader", 8760)
    (root / "state/talosconfig").write_bytes(content)


def _upper(change: Callable[[Path], object]) -> Callable[[Path, bytes], None]:
    return lambda root, _: (change(root / "talosconfig"), None)[1]


def _state(change: Callable[[Path], object]) -> Callable[[Path, bytes], None]:
    return lambda root, _: (change(root / "state/talosconfig"), None)[1]


def _both(change: Callable[[Path], object]) -> Callable[[Path, bytes], None]:
    def spoil(root: Path, _: bytes) -> None:
        for path in (root / "talosconfig", root / "state/talosconfig"):
            change(path)

    return spoil


def _marker(change: Callable[[Path], object]) -> Callable[[Path, bytes], None]:
    return lambda root, _: (change(root / "state/talosconfig.made"), None)[1]


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _garbage(path: Path) -> None:
    path.write_bytes(b"\0\xff: [not yaml")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:700])


# What happens to them, by name; each gets the environment's directory and the plain bundle.
SPOILED: Mapping[str, Callable[[Path, bytes], None]] = {
    "expired": _expired,
    "half over": _half_over,
    "not yet valid": _not_yet_valid,
    "foreign": _foreign,
    "of an older bundle": _older_bundle,
    "of another role": _wrong_role,
    "both lost": _both(Path.unlink),
    "only the lower lost": _state(Path.unlink),
    "only the upper lost": _upper(Path.unlink),
    "both empty": _both(_empty),
    "lower empty": _state(_empty),
    "upper empty": _upper(_empty),
    "both garbage": _both(_garbage),
    "lower garbage": _state(_garbage),
    "upper garbage": _upper(_garbage),
    "lower cut short": _state(_cut),
    "upper cut short": _upper(_cut),
    "marker lost": _marker(Path.unlink),
    "marker empty": _marker(_empty),
    "marker garbage": _marker(_garbage),
}
# Of these the certificate itself is good, and is kept.
KEPT = ("only the upper lost", "upper empty", "upper garbage", "upper cut short")
