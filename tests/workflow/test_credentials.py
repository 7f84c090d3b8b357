"""A talosconfig that is dead, damaged or lost is made again by any run, and nothing else is."""

from __future__ import annotations

import pytest

from talosmake.base import certificates
from tests.aged import KEPT, SPOILED
from tests.project import Project

GO = ("-j4", "--config", "env=dev")
CASES = (
    "expired",
    "half over",
    "of an older bundle",
    "both lost",
    "only the lower lost",
    "only the upper lost",
    "both empty",
    "upper garbage",
    "marker lost",
)


@pytest.fixture
def built(dev: Project) -> Project:
    dev.ok(*GO)
    return dev


@pytest.mark.parametrize("what", CASES)
def test_it_is_made_anew(built: Project, what: str) -> None:
    root = built.root / "rendered_configs/dev"
    before = (root / "state/talosconfig").read_bytes()
    SPOILED[what](root, built.run("sops", "decrypt", "secrets/dev.yaml").output.encode())
    assert built.ok("-n", "validate", *GO).jobs == {"talosconfig:dev"}
    run = built.ok("validate", *GO)
    assert run.jobs == {"talosconfig:dev"}
    assert ("dev: made a new client certificate" in run.output) == (
        what not in (*KEPT, "marker lost")
    )
    for path in (root / "talosconfig", root / "state/talosconfig"):
        assert certificates.of_talosconfig(path.read_bytes()).organizations == ("os:admin",)
    assert ((root / "state/talosconfig").read_bytes() == before) == (what in KEPT)
    assert built.ok("validate", *GO).jobs == set()


def test_removed_as_a_message_says_it_is_made_anew_also_without_snakemakes_memory(
    built: Project,
) -> None:
    """Remedies name the talosconfig to use, because it is an output that Snakemake misses."""
    root = built.root / "rendered_configs/dev"
    bundle = built.run("sops", "decrypt", "secrets/dev.yaml").output.encode()
    SPOILED["expired"](root, bundle)
    built.remove(".snakemake")
    built.remove("rendered_configs/dev/talosconfig")
    assert built.ok("validate", *GO).jobs == {"talosconfig:dev"}
    certificates.of_talosconfig((root / "talosconfig").read_bytes())
    assert "dev: made a new client certificate" not in built.ok("validate", *GO).output


def test_files_encrypted_anew_keep_the_certificate(built: Project) -> None:
    before = built.read("rendered_configs/dev/state/talosconfig")
    rotated = built.run("sops", "rotate", "--in-place", "secrets/dev.yaml")
    assert rotated.code == 0, rotated.output
    assert "talosconfig:dev" in built.ok(*GO).jobs
    assert built.read("rendered_configs/dev/state/talosconfig") == before
    assert built.ok(*GO).jobs == set()


def test_another_lifetime_makes_a_new_one(built: Project) -> None:
    facts = built.read("patches/envs/dev/cluster.env")
    built.write("patches/envs/dev/cluster.env", f"{facts}CERT_TTL=30d\n")
    assert "talosconfig:dev" in built.ok(*GO).jobs
    read = certificates.of_talosconfig(
        (built.root / "rendered_configs/dev/talosconfig").read_bytes()
    )
    assert (read.until - read.since).days == 30
    assert built.ok(*GO).jobs == set()


def test_lifetime_that_is_none_names_file_and_line(dev: Project) -> None:
    facts = dev.read("patches/envs/dev/cluster.env")
    dev.write("patches/envs/dev/cluster.env", f"{facts}CERT_TTL=0h\n")
    line = facts.count("\n") + 1
    error = dev.fails(*GO)
    assert error.startswith(
        f"Error: patches/envs/dev/cluster.env:{line}: CERT_TTL='0h' is too short"
    )


def test_without_the_age_key_a_certificate_past_half_of_its_life_stays(built: Project) -> None:
    before = built.read("rendered_configs/dev/talosconfig")
    SPOILED["half over"](built.root / "rendered_configs/dev", b"")
    built.env["SOPS_AGE_KEY_FILE"] = str(built.root / "none")
    for _ in range(2):  # each run tries again
        run = built.ok("rendered_configs/dev/talosconfig", *GO)
        assert "it is past half of its life" in run.output
        assert built.read("rendered_configs/dev/talosconfig") == before
    SPOILED["expired"](built.root / "rendered_configs/dev", _bundle())
    dead = built.read("rendered_configs/dev/state/talosconfig")
    assert "secrets/dev.yaml" in built.fails("rendered_configs/dev/talosconfig", *GO)
    assert built.read("rendered_configs/dev/state/talosconfig") == dead


def _bundle() -> bytes:
    from talosmake.talos import generate

    return generate.gen_secrets("v1.13")
