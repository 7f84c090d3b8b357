"""Projects of many nodes to measure with."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.project import BIN, CLUSTER_ENV, Project, encrypted

from talosmake.secrets import age

_SHARED = """\
machine:
  install:
    disk: /dev/vda
  sysctls:
    net.core.somaxconn: "65535"
    vm.max_map_count: "262144"
  kubelet:
    extraArgs:
      rotate-server-certificates: "true"
cluster:
  network:
    cni:
      name: none
  proxy:
    disabled: true
"""

_OWN = """\
machine:
  network:
    interfaces:
      - deviceSelector:
          hardwareAddr: ${NODE_MAC}
        addresses: [${NODE_IP}/16]
        routes:
          - network: 0.0.0.0/0
            gateway: 10.9.0.1
    nameservers: [10.9.0.1]
"""


def real_machines(root: Path, count: int) -> Project:
    """A project with one environment, ``bench``, of that many nodes; three are control planes.

    Each node has three layers of patches, and the bundle is encrypted for a key in the project.
    """
    project = _project(root)
    project.environment("bench")
    project.write("patches/common.yaml", _SHARED)
    for number in range(count):
        role = "control_planes" if number < 3 else "workers"
        high, low = divmod(number, 250)
        mac = f"NODE_MAC=52:54:00:99:{high:02x}:{low:02x}\n"
        name = f"node_{number:04}"
        project.node("bench", role, name, f"10.9.{high + 1}.{low + 1}", mac)
        project.patch("bench", role, name, _OWN)
    key = age.new_key()
    (project.root / "home/.config/sops/age").mkdir(parents=True)
    (project.root / "home/.config/sops/age/keys.txt").write_bytes(key.identity)
    bundle = subprocess.run(
        [BIN / "talosctl", "gen", "secrets", "--talos-version", "v1.13", "-o", "-"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    name = "secrets/bench.yaml"
    project.write(name, encrypted(bundle, key.recipient, name))
    return project


def simulated_nodes(root: Path, count: int, network: str) -> Project:
    """A project with one environment, ``bench``, of that many simulated nodes.

    :param network: the first three numbers of their loopback addresses.
    """
    project = _project(root)
    cluster_env = CLUSTER_ENV.replace("10.9.0.10", f"{network}.1")
    project.environment("bench", "SIMULATED=true\n", cluster_env)
    for number in range(count):
        role = "control_planes" if number < 3 else "workers"
        mac = f"NODE_MAC=52:54:00:99:00:{number:02x}\n"
        project.node("bench", role, f"node_{number:04}", f"{network}.{number + 1}", mac)
    return project


def _project(root: Path) -> Project:
    home = root / "home"
    home.mkdir(parents=True)
    return Project(root, {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")})
