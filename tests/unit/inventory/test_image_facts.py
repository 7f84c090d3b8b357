"""Which images the facts of an environment, a role and a node ask for."""

from __future__ import annotations

import re

import pytest

from talosmake.artifact import check
from talosmake.base.errors import InventoryError
from talosmake.inventory import environments
from talosmake.inventory.model import Environment, Node
from talosmake.inventory.schematic import PLAIN
from tests.project import CLUSTER_ENV, Project

ONE, OTHER = "0a" * 32, "0b" * 32
WORKERS = "patches/envs/dev/workers/common.env"
NODE = "patches/envs/dev/workers/worker_1/node.env"


def dev() -> Environment:
    return environments.load("dev")


def installers(environment: Environment) -> dict[str, str]:
    nodes = environment.nodes
    return {node.name: environment.cluster_of(node).installer_image for node in nodes}


def worker() -> Node:
    return dev().node("worker", "worker_1")


def refused() -> InventoryError:
    with pytest.raises(InventoryError) as error:
        dev()
    return error.value


def test_the_nearest_file_counts(small: Project) -> None:
    small.environment("dev", f"TALOS_SCHEMATIC_ID={ONE}\n")
    small.node("dev", "workers", "worker_2", "10.9.0.22", f"TALOS_SCHEMATIC_ID={PLAIN}\n")
    small.write(WORKERS, f"TALOS_SCHEMATIC_ID={OTHER}\nTALOS_PLATFORM=nocloud\n")
    assert installers(dev()) == {
        "cp_1": f"factory.talos.dev/metal-installer/{ONE}:v1.13.0",
        "worker_1": f"factory.talos.dev/nocloud-installer/{OTHER}:v1.13.0",
        "worker_2": f"factory.talos.dev/nocloud-installer/{PLAIN}:v1.13.0",
    }
    assert worker().facts["TALOS_SCHEMATIC_ID"] == OTHER


def test_a_nearer_file_stands_for_a_farther_id_and_the_other_way_round(small: Project) -> None:
    small.write("patches/envs/dev/one.yaml", "customization: {bootloader: sd-boot}\n")
    small.environment("dev", f"TALOS_SCHEMATIC_ID={ONE}\n")
    small.write(WORKERS, "TALOS_SCHEMATIC=one.yaml\n")
    of_file = worker().chosen
    assert of_file is not None
    assert of_file.file is not None
    assert worker().facts["TALOS_SCHEMATIC_ID"] == of_file.images.schematic != ONE
    assert dev().schematics == (of_file.file,)
    small.node("dev", "workers", "worker_1", "10.9.0.21", f"TALOS_SCHEMATIC_ID={OTHER}\n")
    assert "TALOS_SCHEMATIC" not in worker().facts
    assert installers(dev())["worker_1"].endswith(f"{OTHER}:v1.13.0")


def test_an_empty_one_gives_the_plain_installer_back(small: Project) -> None:
    small.environment("dev", f"TALOS_SCHEMATIC_ID={ONE}\n")
    small.write(WORKERS, "TALOS_SCHEMATIC_ID=\n")
    assert installers(dev())["worker_1"] == "ghcr.io/siderolabs/installer:v1.13.0"


@pytest.mark.parametrize(
    ("facts", "installer"),
    [
        ("", "ghcr.io/siderolabs/installer:v1.13.0"),
        ("TALOS_ARCH=arm64\n", "ghcr.io/siderolabs/installer:v1.13.0"),
        ("TALOS_PLATFORM=metal\n", "ghcr.io/siderolabs/installer:v1.13.0"),
        ("TALOS_PLATFORM=nocloud\n", f"factory.talos.dev/nocloud-installer/{PLAIN}:v1.13.0"),
        ("IMAGE_FACTORY=f.lan:8443\n", f"f.lan:8443/metal-installer/{PLAIN}:v1.13.0"),
        ("IMAGE_FACTORY=http://f.lan:80\n", f"f.lan:80/metal-installer/{PLAIN}:v1.13.0"),
        (
            "TALOS_SECURE_BOOT=true\n",
            f"factory.talos.dev/metal-installer-secureboot/{PLAIN}:v1.13.0",
        ),
    ],
)
def test_what_asks_for_the_factory(small: Project, facts: str, installer: str) -> None:
    small.environment("dev", facts)
    assert set(installers(dev()).values()) == {installer}


def test_own_facts_of_a_role(small: Project) -> None:
    small.environment("dev", "DISK=/dev/sda\n")
    small.node("dev", "workers", "worker_2", "10.9.0.22", "DISK=/dev/vda\n")
    small.write(WORKERS, "DISK=/dev/nvme0n1\nVM_CPUS=4\n")
    assert [node.facts["DISK"] for node in dev().nodes] == ["/dev/sda", "/dev/nvme0n1", "/dev/vda"]
    assert worker().facts["VM_CPUS"] == "4"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("NODE_IP=10.9.0.99", f"{WORKERS}:1: NODE_IP is about one node"),
        (
            "TALOS_VERSION=v1.13.0",
            f"{WORKERS}:1: TALOS_VERSION is about the whole environment and cannot be given for "
            "one role",
        ),
        ("NODE_NAME=x", f"{WORKERS}:1: NODE_NAME is set by the workflow"),
        ("MY=${ENV}", f"{WORKERS}:1: the value of MY has"),
        ("IMAGE_FACTORY=f.lan", f"{WORKERS}:1: IMAGE_FACTORY is about the whole environment"),
    ],
)
def test_what_a_role_cannot_have(small: Project, line: str, message: str) -> None:
    small.write(WORKERS, f"{line}\n")
    assert refused().message.startswith(message)


def test_other_env_files_beside_it_are_not_read(small: Project) -> None:
    small.write("patches/envs/dev/workers/role.env", "A=1\n")
    error = refused()
    assert error.message == "patches/envs/dev/workers/role.env: is not read"
    assert "those of a role in common.env of its directory" in error.hint


@pytest.mark.parametrize(
    ("path", "line", "message"),
    [
        (NODE, "TALOS_PLATFORM=nocluod", ":2: TALOS_PLATFORM='nocluod': must be one of akamai, "),
        (NODE, "TALOS_PLATFORM=equinixMetal", ":2: TALOS_PLATFORM='equinixMetal': must be one of"),
        (WORKERS, "TALOS_ARCH=aarch64", ":1: TALOS_ARCH='aarch64': must be one of amd64, arm64"),
        (WORKERS, "TALOS_SECURE_BOOT=yes", ":1: TALOS_SECURE_BOOT='yes': must be one of true, f"),
        (NODE, "TALOS_SCHEMATIC_ID=abc", ":2: TALOS_SCHEMATIC_ID='abc' is no schematic's id"),
        (NODE, "TALOS_SCHEMATIC=x.yaml", ":2: TALOS_SCHEMATIC='x.yaml': patches/envs/dev/x.yaml c"),
        (
            WORKERS,
            f"TALOS_SCHEMATIC=x.yaml\nTALOS_SCHEMATIC_ID={ONE}",
            ":2: TALOS_SCHEMATIC and TALOS_SCHEMATIC_ID say the same",
        ),
        (
            WORKERS,
            "TALOS_PLATFORM=hcloud\nTALOS_ARCH=arm64",
            ":2: TALOS_ARCH='arm64': there are no images for hcloud on arm64 (dev/worker_1)",
        ),
        (
            WORKERS,
            "TALOS_PLATFORM=aws\nTALOS_SECURE_BOOT=true",
            ":2: TALOS_SECURE_BOOT='true': there are no images for secure boot on aws",
        ),
        (
            NODE,
            "TALOS_PLATFORM=alibabacloud",
            ":2: TALOS_PLATFORM='alibabacloud': Talos has images for it from 1.14.0-beta.2 on, and "
            "dev/worker_1 gets v1.13.0",
        ),
    ],
)
def test_facts_that_are_refused_with_their_line(
    small: Project, path: str, line: str, message: str
) -> None:
    given = small.read(path) if path == NODE else ""
    small.write(path, f"{given}{line}\n")
    assert refused().message.startswith(f"{path}{message}")


@pytest.mark.parametrize("value", ["factory", "https://f.lan/x", "f.lan/x", "F.lan"])
def test_what_is_no_factory(small: Project, value: str) -> None:
    small.environment("dev", f"IMAGE_FACTORY={value}\n")
    error = refused()
    line = CLUSTER_ENV.count("\n") + 1
    where = f"patches/envs/dev/cluster.env:{line}: IMAGE_FACTORY"
    assert error.message == f"{where}={value!r} is no Image Factory"
    assert "factory.lan:8443" in error.hint


@pytest.mark.parametrize("value", ["https://me:hunter2@f.lan", "hunter2@f.lan", "a/hunter2@f.lan"])
def test_a_password_in_a_factory_s_name_is_not_quoted(small: Project, value: str) -> None:
    small.environment("dev", f"IMAGE_FACTORY={value}\n")
    error = refused()
    assert "…@f.lan' is no Image Factory" in error.message
    assert "hunter2" not in str(error)


def test_a_schematic_that_does_not_fit_how_a_node_boots(small: Project) -> None:
    small.write("patches/envs/dev/s.yaml", "customization:\n  secureboot: {enrollKeys: force}\n")
    small.environment("dev", "TALOS_SCHEMATIC=s.yaml\nTALOS_SECURE_BOOT=true\n")
    dev()
    small.write(WORKERS, "TALOS_SECURE_BOOT=false\n")
    error = refused()
    assert error.message == (
        "patches/envs/dev/s.yaml:2: customization.secureboot is for images of secure boot, and "
        "dev/worker_1 gets others"
    )
    assert f"TALOS_SECURE_BOOT=true into {WORKERS}:1" in error.hint


def test_a_misspelt_extension_in_a_node_s_own_schematic(small: Project) -> None:
    small.write(
        "patches/envs/dev/gpu.yaml",
        "customization:\n  systemExtensions:\n    officialExtensions: [nvidia]\n",
    )
    small.node("dev", "workers", "worker_1", "10.9.0.21", "TALOS_SCHEMATIC=gpu.yaml\n")
    error = refused()
    assert error.message == (
        "patches/envs/dev/gpu.yaml:3: customization.systemExtensions.officialExtensions: 'nvidia' "
        "is no name of an extension"
    )


def test_a_schematic_of_a_private_factory_is_to_be_sent_there(small: Project) -> None:
    small.write("patches/envs/dev/s.yaml", "customisation: {}\n")
    small.environment("dev", "TALOS_SCHEMATIC=s.yaml\nIMAGE_FACTORY=http://f.lan:8080\n")
    assert "http://f.lan:8080/schematics" in refused().hint


VMS = "LIBVIRT_URI=qemu:///system\nNETWORK=10.9.0.0/24\n"


def sources(facts: str) -> list[str]:
    vms = environments.load("dev").vms
    assert vms is not None, facts
    return [image.source for image in vms.boot.images]


def test_virtual_machines_start_from_the_factory_s_images(small: Project) -> None:
    small.environment("dev", f"{VMS}IMAGE_FACTORY=f.lan\nTALOS_PLATFORM=nocloud\n")
    base = f"https://f.lan/image/{PLAIN}/v1.13.0"
    assert sources("an ISO") == [f"{base}/nocloud-amd64.iso"]
    small.environment("dev", f"{VMS}TALOS_KERNEL=factory\nTALOS_PLATFORM=nocloud\n")
    base = f"https://factory.talos.dev/image/{PLAIN}/v1.13.0"
    assert sources("a kernel") == [f"{base}/kernel-amd64", f"{base}/initramfs-amd64.xz"]
    vms = dev().vms
    assert vms is not None
    assert vms.boot.arguments.startswith("talos.platform=nocloud ")
    small.write(
        "patches/envs/dev/s.yaml", "customization: {extraKernelArgs: [console=hvc0, -pti]}\n"
    )
    kernels = {"factory": True, "/srv/vmlinuz\nTALOS_INITRAMFS=/srv/initramfs": False}
    for kernel, of_schematic in kernels.items():
        small.environment("dev", f"{VMS}TALOS_KERNEL={kernel}\nTALOS_SCHEMATIC=s.yaml\n")
        vms = dev().vms
        assert vms is not None
        assert ("console=hvc0" in vms.boot.arguments) is of_schematic
        assert ("pti=on" in vms.boot.arguments) is not of_schematic


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ("TALOS_ARCH=arm64\n", ": TALOS_ARCH='arm64': virtual machines are made for amd64 only"),
        (
            "TALOS_SECURE_BOOT=true\nTALOS_KERNEL=factory\n",
            ": TALOS_KERNEL='factory': the kernel that the Image Factory serves by itself is not s",
        ),
        (
            "TALOS_PLATFORM=aws\n",
            ": TALOS_PLATFORM='aws': the Image Factory makes no ISO for it, and virtual machines s",
        ),
    ],
)
def test_what_virtual_machines_cannot_be(small: Project, facts: str, message: str) -> None:
    small.environment("dev", VMS + facts)
    names = re.findall(r"[A-Z_]+", message)
    line = small.read("patches/envs/dev/cluster.env").partition(f"{names[0]}=")[0].count("\n") + 1
    assert refused().message.startswith(f"patches/envs/dev/cluster.env:{line}{message}")


@pytest.mark.parametrize(
    "fixed",
    [
        "TALOS_PLATFORM=aws\nTALOS_KERNEL=factory\n",
        "TALOS_PLATFORM=aws\nTALOS_IMAGE=/srv/aws.iso\n",
        "TALOS_SECURE_BOOT=true\n",
    ],
)
def test_what_the_messages_about_virtual_machines_advise(small: Project, fixed: str) -> None:
    small.environment("dev", VMS + fixed)
    assert dev().vms is not None
    small.environment("dev", "TALOS_ARCH=arm64\n")
    assert dev().vms is None


def test_one_virtual_machine_cannot_start_in_another_way(small: Project) -> None:
    small.environment("dev", VMS)
    small.node("dev", "workers", "worker_1", "10.9.0.21", "TALOS_SECURE_BOOT=true\n")
    assert refused().message == (
        f"{NODE}:2: TALOS_SECURE_BOOT='true' is about all virtual machines of an environment, "
        "which start from one image"
    )
    small.node("dev", "workers", "worker_1", "10.9.0.21", f"TALOS_SCHEMATIC_ID={ONE}\n")
    assert installers(dev())["worker_1"].endswith(f"{ONE}:v1.13.0")


def test_a_secret_in_the_facts_of_a_role_or_a_schematic_stops_a_check(small: Project) -> None:
    secret = "hunter" + "2hunter2"
    small.write(WORKERS, f"WIFI_PASSWORD={secret}\n")
    text = f"customization:\n  extraKernelArgs: ['auth_token={secret}']\n"
    small.write("patches/envs/dev/gpu.yaml", text)
    small.node("dev", "workers", "worker_1", "10.9.0.21", "TALOS_SCHEMATIC=gpu.yaml\n")
    said = [str(error) for error in check.in_plain_text([dev()])]
    assert any(f"{WORKERS}:1: holds" in one for one in said), said
    assert not any(secret in one for one in said)
