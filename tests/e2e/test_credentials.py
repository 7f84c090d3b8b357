"""Credentials renew themselves while a cluster runs (simulated nodes, the real talosctl)."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from talosmake.base import certificates
from tests.aged import SPOILED
from tests.project import BIN, Project

UP = ("-j4", "--config", "env=lab")
ROOT = "rendered_configs/lab"


def _log(lab: Project, method: str) -> list[str]:
    """The simulated nodes' log lines about a method."""
    return [line for line in lab.read(".simulator/lab/log").splitlines() if method in line]


def _bundle(lab: Project) -> bytes:
    key = {**lab.env, "SOPS_AGE_KEY_FILE": str(lab.root / "secrets/lab.agekey")}
    return Project(lab.root, key).run("sops", "decrypt", "secrets/lab.yaml").output.encode()


def _alive(lab: Project, network: str) -> None:
    """Both can be used, by the nodes' own word."""
    assert "Tag:" in lab.talosctl("lab", f"{network}.11", "version").output
    certificates.of_kubeconfig((lab.root / ROOT / "kubeconfig").read_bytes())


def test_talosconfig(running: Project, network: str) -> None:
    """Each time one job runs, no node is asked, and none is given anything."""
    lab = running
    calls = len(lab.read(".simulator/lab/log").splitlines())
    for what in ("expired", "only the lower lost", "of an older bundle", "both empty"):
        SPOILED[what](lab.root / ROOT, _bundle(lab))
        assert lab.talosctl("lab", f"{network}.11", "version").code != 0 or "lower" in what
        calls = len(_log(lab, "ApplyConfiguration"))
        run = lab.ok(*UP)
        assert run.jobs == {"talosconfig:lab"}, what
        assert len(_log(lab, "ApplyConfiguration")) == calls
        _alive(lab, network)
        assert lab.ok(*UP).jobs == set()


def test_changed_node_is_applied_with_a_new_certificate(running: Project, network: str) -> None:
    lab = running
    SPOILED["expired"](lab.root / ROOT, _bundle(lab))
    patch = "machine:\n  sysctls:\n    vm.swappiness: '7'\n"
    lab.patch("lab", "workers", "worker_2", patch)
    run = lab.ok(*UP)
    assert {job for job in run.jobs if job.startswith("apply_")} == {"apply_worker:lab/worker_2"}
    assert "talosconfig:lab" in run.jobs
    assert lab.ok(*UP).jobs == set()


def test_what_changes_nodes_makes_it_anew_without_snakemakes_memory(running: Project) -> None:
    """Without its records of parameters Snakemake sees no difference."""
    lab = running
    lab.remove(".snakemake")
    for command in (("rendered_configs/lab/state/worker-worker_1.applied",), ("reset",)):
        SPOILED["expired"](lab.root / ROOT, _bundle(lab))
        for name in ("worker-worker_1.applied",):
            (lab.root / ROOT / "state" / name).unlink(missing_ok=True)
        run = lab.ok(*command, *UP)
        assert "talosconfig:lab" not in run.jobs
        assert "lab: made a new client certificate" in run.output


@pytest.mark.parametrize("what", ["expired", "both lost", "of an older bundle"])
def test_who_looks_needs_no_talosconfig(running: Project, what: str) -> None:
    lab = running
    SPOILED[what](lab.root / ROOT, _bundle(lab))
    nodes = lab.ok("nodes", *UP).output
    assert len(re.findall(r" applied .* running$", nodes, re.M)) == 5
    assert "0 of 5 nodes differ from Git" in lab.ok("diff", *UP).output
    assert lab.ok("refresh", *UP).output.count("runs the config that was applied") == 5
    assert lab.snakemake("doctor", "-q", "all", *UP).output.count(": running\n") == 5
    if what == "both lost":
        lab.ok("report", *UP, "live=true")
    # Nodes are reset with its own, which is made before.
    else:
        assert "talosconfig:lab" in lab.ok("reset", *UP).jobs


def test_with_which_role_nodes_are_asked(running: Project, network: str) -> None:
    """By the talosconfigs that a look leaves, tried on a node; docs/secrets.md has the list."""
    lab = running
    for target in ("nodes", "doctor"):
        lab.snakemake(target, *UP)
        assert (lab.root / ROOT / "state/talosconfig-reader").exists()
        assert not (lab.root / ROOT / "state/talosconfig-day").exists()
    lab.ok("diff", *UP)
    node = ("-n", f"{network}.11", "-e", f"{network}.11")
    answers = {}
    for access in ("reader", "day"):
        config = ("--talosconfig", f"{ROOT}/state/talosconfig-{access}")
        calls: list[tuple[str, ...]] = [("version",), ("get", "machineconfig"), ("bootstrap",)]
        for call in calls:
            run = lab.run(BIN / "talosctl", *call, *config, *node)
            answers[access, call[0]] = "PermissionDenied" in run.output
    assert answers == {
        ("reader", "version"): False,
        ("reader", "get"): True,  # so that diff, refresh and the live report need os:admin
        ("reader", "bootstrap"): True,
        ("day", "version"): False,
        ("day", "get"): False,
        ("day", "bootstrap"): False,
    }


def _lost(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _foreign(path: Path) -> None:
    text = path.read_text()
    crt = re.search(r"certificate-authority-data: (\S+)", text)
    client = re.search(r"client-certificate-data: (\S+)", text)
    assert crt
    assert client
    path.write_text(text.replace(crt[1], client[1]))


def _marker_lost(path: Path) -> None:
    (path.parent / "state/kubeconfig").unlink()


def test_kubeconfig(lab: Project, network: str) -> None:
    first = lab.ok(*UP)
    assert "kubeconfig:lab" in first.jobs
    path = lab.root / ROOT / "kubeconfig"
    for spoil in (_lost, _empty, _foreign):
        before = path.read_bytes()
        spoil(path)
        assert lab.ok("-n", *UP).jobs == {"kubeconfig:lab"}, spoil
        fetched = len(_log(lab, "Kubeconfig"))
        assert lab.ok(*UP).jobs == {"kubeconfig:lab"}, spoil
        assert len(_log(lab, "Kubeconfig")) == fetched + 1
        assert path.read_bytes() != before
        assert path.stat().st_mode & 0o777 == 0o600
        _alive(lab, network)
        assert lab.ok(*UP).jobs == set()
    # What only its marker does not know is no reason to ask a node.
    fetched = len(_log(lab, "Kubeconfig"))
    _marker_lost(path)
    assert lab.ok(*UP).jobs == {"kubeconfig:lab"}
    assert len(_log(lab, "Kubeconfig")) == fetched
    assert len(_log(lab, "Bootstrap")) == 1


@pytest.mark.parametrize("lost", ["kubeconfig", "state/kubeconfig", "state/bootstrapped"])
def test_with_a_dead_talosconfig_all_is_made_in_one_run(running: Project, lost: str) -> None:
    """Behind a job that runs, Snakemake does not look at what only `ancient` files lead to."""
    lab = running
    SPOILED["expired"](lab.root / ROOT, _bundle(lab))
    (lab.root / ROOT / lost).unlink()
    rule = "bootstrap_cluster:lab" if "bootstrapped" in lost else "kubeconfig:lab"
    assert {"talosconfig:lab", rule} <= lab.ok(*UP).jobs
    assert lab.ok(*UP).jobs == set()


def _refuse(lab: Project, *addresses: str) -> None:
    """Have nodes' ports closed; those that are not named are open."""
    faults = {address: [{"fault": "refuse"}] for address in addresses}
    new = lab.write(".simulator/lab/faults.new", json.dumps(faults))
    new.replace(new.with_name("faults.json"))


def test_kubeconfig_is_kept_until_there_is_a_new_one(lab: Project, network: str) -> None:
    facts = lab.read("patches/envs/lab/cluster.env").replace("NODE_TIMEOUT=30", "NODE_TIMEOUT=1")
    lab.write("patches/envs/lab/cluster.env", facts)
    lab.ok(*UP)
    path, planes = lab.root / ROOT / "kubeconfig", [f"{network}.1{n}" for n in (1, 2, 3)]
    before = path.read_bytes()

    # Half over: nobody is there to give a new one, so it is used on, and each run tries again.
    _half_over_in_truth(path, _bundle(lab))
    _refuse(lab, *planes)
    old = path.read_bytes()
    for _ in range(2):
        run = lab.ok(*UP)
        assert run.jobs == {"kubeconfig:lab"}
        assert "kubeconfig: its certificate is past half of its life" in run.output
        assert "no control plane gives a new one; it is kept as it is" in run.output
        assert path.read_bytes() == old

    # Dead: an error that says who was asked, and the file stays.
    path.write_text("of another cluster\n")
    error = lab.fails(*UP)
    assert (
        "timed out after 1 s waiting for a control plane to give the kubeconfig; last: cp_1: "
        in error
    )
    assert "cp_3: " in error
    assert f"{ROOT}/kubeconfig is left as it is." in error
    assert path.read_text() == "of another cluster\n"

    # The same command when one of them, not the first, is back.
    _refuse(lab, *planes[:2])
    assert lab.ok(*UP).jobs == {"kubeconfig:lab"}
    assert path.read_bytes() != before
    _refuse(lab)
    _alive(lab, network)


def _half_over_in_truth(path: Path, bundle: bytes) -> None:
    """The same key in a certificate of its CA that has less than half of its life left."""
    ca = yaml.safe_load(bundle)["certs"]["k8s"]
    ca_crt = x509.load_pem_x509_certificate(base64.b64decode(ca["crt"]))
    ca_key = serialization.load_pem_private_key(base64.b64decode(ca["key"]), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    [encoded] = re.findall(r"client-certificate-data: (\S+)", path.read_text())
    crt = x509.load_pem_x509_certificate(base64.b64decode(encoded))
    now = datetime.now(UTC)
    aged = (
        x509.CertificateBuilder(ca_crt.subject, crt.subject, crt.public_key(), 1)
        .not_valid_before(now - timedelta(200))
        .not_valid_after(now + timedelta(165))
        .sign(ca_key, hashes.SHA256())
    )
    pem = base64.b64encode(aged.public_bytes(serialization.Encoding.PEM)).decode()
    path.write_text(path.read_text().replace(encoded, pem))
