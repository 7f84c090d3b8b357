"""Build what real Talos nodes boot from: kernel, initramfs and one read-only image for all of them.

Talos's own machined and its containerd come built from Go modules, the kernel, runc and busybox
from Debian packages that are downloaded and unpacked, not installed. Standard library only, like
set-up, which calls it.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
KERNEL = "linux-image-cloud-amd64"
PACKAGES = ("runc", "libseccomp2", "libc6", "busybox-static")

# Loaded in this order, with what each depends on before it.
EARLY_MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "loop", "squashfs", "overlay")
LATE_MODULES = ("nf_tables", "nft_ct", "nft_compat", "wireguard")

DIRECTORIES = (
    *("disk", "proc", "sys", "dev", "run", "tmp", "system", "var", "mnt", "boot", "root", "home"),
    *("usr/bin", "usr/lib", "usr/lib64", "usr/etc", "usr/libexec/kubernetes", "usr/lib/modules"),
    *("usr/local/lib/kubelet/credentialproviders", "usr/share/zoneinfo/Etc", "usr/share/spdx"),
    *("etc/ssl/certs", "etc/kubernetes/manifests", "etc/cni/net.d", "etc/cri/conf.d/hosts"),
    *("etc/containerd", "etc/iscsi", "etc/nvme", "etc/lvm"),
    *("etc/selinux/targeted/contexts/files", "opt/containerd/bin", "opt/containerd/lib"),
    *("opt/cni/bin", "opt/cni/lib"),
)
LINKS = {"bin": "usr/bin", "sbin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64"}
# Talos binds files of its own over these; without one of them it waits for ever while it boots.
BOUND_OVER = (
    *("nfsmount.conf", "hosts", "resolv.conf", "localtime", "machine-id", "extensions.yaml"),
    *("cri/conf.d/cri.toml", "cri/conf.d/00-base.part", "cri/conf.d/01-registries.part"),
    *("cri/conf.d/20-customization.part", "cri/conf.d/base-spec.json", "containerd/config.toml"),
)
# The containerd that runs Talos's own services needs neither Kubernetes's interface nor file
# systems that are not there; looking for them costs seconds on an emulated processor.
SYSTEM_CONTAINERD = """version = 3
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.cri.v1.images",
  "io.containerd.cri.v1.runtime",
  "io.containerd.nri.v1.nri",
  "io.containerd.podsandbox.controller.v1.podsandbox",
  "io.containerd.sandbox.controller.v1.shim",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.differ.v1.erofs",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing",
]
"""
LIBRARIES = ("libc.so.6", "libseccomp.so.2", "ld-linux-x86-64.so.2")


def build(target: Path, programs: Mapping[str, Path], version: str) -> None:
    """Make ``vmlinuz``, ``initramfs`` and ``image.squashfs`` in a directory.

    :param programs: the built ones by name: machined, containerd and its shim, and etcd's server.
    :param version: Talos's, without v; it is shown in os-release.
    """
    work = target / "work"
    packages = unpack(work / "packages")
    kernel = next((packages / "boot").glob("vmlinuz-*"))
    shutil.copy(kernel, target / "vmlinuz")
    modules = packages / "lib/modules" / kernel.name.removeprefix("vmlinuz-")
    make_root(work / "root", packages, programs, version)
    # lz4, because every block is unpacked by an emulated processor.
    squash = ["mksquashfs", work / "root", target / "image.squashfs", "-comp", "lz4"]
    run([*squash, "-all-root", "-noappend", "-quiet", "-no-progress", "-reproducible"])
    make_initramfs(work / "initramfs", packages, modules)
    pack(work / "initramfs", target / "initramfs")
    make_image(target / "images", "etcd", programs["server"], "usr/local/bin/etcd")
    shutil.rmtree(work)


def unpack(directory: Path) -> Path:
    """Download the Debian packages and unpack them side by side."""
    debs = directory.with_name("debs")
    debs.mkdir(parents=True)
    depends = subprocess.run(
        ["apt-cache", "depends", KERNEL], check=True, capture_output=True, text=True
    ).stdout
    found = re.search(r"Depends: (linux-image-\S+)", depends)
    if found is None:
        sys.exit(f"apt-cache knows no kernel behind {KERNEL}")
    run(["apt-get", "download", "-qq", found[1], *PACKAGES], cwd=debs)
    for deb in sorted(debs.glob("*.deb")):
        run(["dpkg-deb", "--extract", deb, directory])
    return directory


def make_root(root: Path, packages: Path, programs: Mapping[str, Path], version: str) -> None:
    """The tree that Talos sees, as far as it is the same on all nodes."""
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, to in LINKS.items():
        (root / name).symlink_to(to)
    binaries = root / "usr/bin"
    for program in ("containerd", "containerd-shim-runc-v2"):
        shutil.copy(programs[program], binaries)
    shutil.copy(programs["machined"], binaries / "init")
    for name in ("poweroff", "shutdown", "dashboard"):
        (binaries / name).hardlink_to(binaries / "init")
    shutil.copy(packages / "usr/sbin/runc", binaries)
    shutil.copy(packages / "bin/busybox", binaries)
    for library in LIBRARIES:
        # The directory that is named in each program for the loader must hold it as well.
        place = root / ("usr/lib64" if library.startswith("ld-") else "usr/lib/x86_64-linux-gnu")
        place.mkdir(exist_ok=True)
        shutil.copy(next(packages.rglob(library)).resolve(), place / library)
    executable(HERE / "start", root / "usr/libexec/start")
    for name in BOUND_OVER:
        (root / "etc" / name).touch()
    (root / "etc/cri/containerd.toml").write_text("version = 3\n")
    (root / "etc/containerd/config.toml").write_text(SYSTEM_CONTAINERD)
    (root / "etc/ssl/certs/ca-certificates.crt").write_bytes(certificates())
    (root / "etc/hostname").write_text("talos\n")
    (root / "etc/os-release").write_text(
        f'NAME="Talos"\nID=talos\nVERSION_ID=v{version}\nPRETTY_NAME="Talos (v{version})"\n'
    )
    (root / "usr/etc/in-container").write_text("true\n")  # this is how Talos knows


def certificates() -> bytes:
    """The machine's CA certificates, if it has any: the nodes fetch from loopback only."""
    path = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
    return path.read_bytes() if path.exists() else b""


def make_initramfs(root: Path, packages: Path, modules: Path) -> None:
    """The tree that the kernel starts in: busybox, the modules, and our init."""
    for name in ("bin", "proc", "sys", "dev", "image", "memory", "modules", "root"):
        (root / name).mkdir(parents=True)
    shutil.copy(packages / "bin/busybox", root / "bin")
    order = load_order(modules, [*EARLY_MODULES, *LATE_MODULES])
    for path in order:
        shutil.copy(path, root / "modules")
    (root / "modules/order").write_text("".join(f"{path.name}\n" for path in order))
    executable(HERE / "init", root / "init")


def load_order(modules: Path, names: Iterable[str]) -> list[Path]:
    """The module files to load, each after those it depends on, as it says itself."""
    files = {path.stem.replace("-", "_"): path for path in modules.rglob("*.ko")}
    order: dict[Path, None] = {}

    def add(name: str) -> None:
        path = files.get(name)
        if path is None or path in order:
            return  # built into the kernel, or there already
        depends = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        for other in depends[1].decode().split(",") if depends else ():
            add(other.replace("-", "_"))
        order[path] = None

    for name in names:
        add(name)
    return list(order)


def pack(root: Path, target: Path) -> None:
    """A directory as an initramfs, by the cpio in busybox."""
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
    command = [root / "bin/busybox", "cpio", "-o", "-H", "newc", "-R", "0:0"]
    with target.open("wb") as output:
        subprocess.run(
            [str(part) for part in command],
            input="".join(f"{name}\n" for name in names).encode(),
            stdout=output,
            stderr=subprocess.DEVNULL,
            cwd=root,
            check=True,
        )


def make_image(directory: Path, name: str, program: Path, inside: str) -> None:
    """An OCI image of one program: its blobs by digest, and which of them the name stands for."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo(inside)
        member.mode, member.size = 0o755, program.stat().st_size
        with program.open("rb") as content:
            tar.addfile(member, content)
    oci = "application/vnd.oci.image"
    layer = gzip.compress(archive.getvalue(), 1, mtime=0)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [f"/{inside}"]},
        "rootfs": {"type": "layers", "diff_ids": [sha256(archive.getvalue())]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{oci}.manifest.v1+json",
        "config": blob(directory, json.dumps(config).encode(), f"{oci}.config.v1+json"),
        "layers": [blob(directory, layer, f"{oci}.layer.v1.tar+gzip")],
    }
    top = blob(directory, json.dumps(manifest).encode(), f"{oci}.manifest.v1+json")
    (directory / "tags").mkdir(exist_ok=True)
    (directory / "tags" / name).write_text(str(top["digest"]))


def blob(directory: Path, content: bytes, kind: str) -> dict[str, str | int]:
    """Write a blob and describe it."""
    (directory / "blobs").mkdir(parents=True, exist_ok=True)
    (directory / "blobs" / sha256(content)).write_bytes(content)
    return {"mediaType": kind, "digest": sha256(content), "size": len(content)}


def sha256(content: bytes) -> str:
    """A digest as OCI writes it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def executable(source: Path, target: Path) -> None:
    """Copy a script."""
    shutil.copy(source, target)
    target.chmod(0o755)


def run(command: Sequence[str | Path], cwd: Path | None = None) -> None:
    """Run a program that has to succeed."""
    subprocess.run([str(part) for part in command], cwd=cwd, check=True)


def main() -> None:
    """Build as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path, help="an empty directory")
    parser.add_argument("--programs", type=Path, action="append", required=True)
    parser.add_argument("--version", required=True)
    options = parser.parse_args()
    programs = {path.name: path for place in options.programs for path in place.iterdir()}
    build(options.target.resolve(), programs, options.version)


if __name__ == "__main__":
    main()
