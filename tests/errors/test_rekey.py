"""Letting somebody out: no later version of a file is readable to who was in an earlier one."""

from __future__ import annotations

import os
import subprocess

import pytest
import yaml

from talosmake.base import files
from talosmake.base.errors import SecretsError
from talosmake.inventory import environments
from talosmake.secrets import age, create, encrypted, rekey, sops
from tests.project import BIN, Project
from tests.unit.conftest import here as here

MINE, LEAVING = age.new_key(), age.new_key()
PATCH = "# why\nmachine:\n  env:\n    A: hunter2hunter2\n    N: '0755'\n---\nkind: X\nb: 1.50\n"
PATCHES = ("patches/common.sops.yaml", "patches/envs/dev/workers/worker_1/a.sops.yaml")
FILES = ("secrets/dev.yaml", *PATCHES)


def rules(*recipients: str) -> str:
    return create._rules(",".join(recipients))


@pytest.fixture
def team(here: Project) -> Project:
    """dev and other, each with files that both keys decrypt."""
    for name, address in (("dev", "10.9.0"), ("other", "10.8.0")):
        here.environment(name)
        here.node(name, "control_planes", "cp_1", f"{address}.11")
        here.node(name, "workers", "worker_1", f"{address}.21")
    (here.root.parent / "age.key").write_bytes(MINE.identity)
    here.write(".sops.yaml", rules(MINE.recipient, LEAVING.recipient))
    for name in ("dev", "other"):
        create.make(environments.load(name), "own")
    for path in PATCHES:
        here.write(path, "")
        (here.root / path).write_bytes(sops.encrypt(PATCH.encode(), here.root / path))
    return here


def contents(team: Project) -> dict[str, bytes]:
    return {path: (team.root / path).read_bytes() for path in (*FILES, "secrets/other.yaml")}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said, each text by itself."""
    texts: list[str] = []
    monkeypatch.setattr(rekey, "say", texts.append)
    monkeypatch.setattr(rekey, "warn", texts.append)
    return texts


def run(*names: str, everything: bool = False) -> None:
    rekey.rekey([environments.load(name) for name in names], everything=everything)


def leaver_reads(old: bytes, new: bytes) -> bool:
    """Whether the data key of the old version, which who left has kept, decrypts the new one."""
    documents = list(yaml.load_all(new, Loader=yaml.BaseLoader))
    [before, *_] = encrypted.metadata(old)
    kept = [one for one in before["age"] if one["recipient"] == LEAVING.recipient]
    for document in documents:
        document["sops"]["age"] = kept
    done = subprocess.run(
        [BIN / "sops", "decrypt", "--ignore-mac", "--input-type", "yaml", "--output-type", "yaml"],
        input=yaml.safe_dump_all(documents).encode(),
        env={
            **os.environ,
            "SOPS_AGE_KEY": LEAVING.identity.decode(),
            "SOPS_AGE_KEY_FILE": "/dev/null",
        },
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def test_who_was_let_out_reads_nothing_new(team: Project, told: list[str]) -> None:
    before = contents(team)
    plain = {path: sops.decrypt(old, team.root / path) for path, old in before.items()}
    team.write(".sops.yaml", rules(MINE.recipient))
    # What updatekeys leaves open, so that this test would see it.
    (team.root / "secrets/copy.yaml").write_bytes(before["secrets/dev.yaml"])
    subprocess.run([BIN / "sops", "updatekeys", "-y", "secrets/copy.yaml"], check=True)
    assert leaver_reads(before["secrets/dev.yaml"], (team.root / "secrets/copy.yaml").read_bytes())
    team.remove("secrets/copy.yaml")

    run("dev")
    after = contents(team)
    for path in FILES:
        assert after[path] != before[path]
        assert not leaver_reads(before[path], after[path])
        assert encrypted.recipients(after[path]) == {MINE.recipient}
        assert sops.decrypt(after[path], team.root / path) == plain[path]
    assert after["secrets/other.yaml"] == before["secrets/other.yaml"]
    said, warned = told
    gone = f": new data key, for {MINE.recipient}; no longer for {LEAVING.recipient}\n"
    for path in FILES:
        assert f"{path}{gone}" in said
    assert "New have to be, too (docs/secrets.md, Let somebody out)" in said
    assert warned == (
        "secrets/other.yaml: can still be decrypted by who was let out\n"
        "  -> snakemake rekey --config env=all"
    )
    # The remedy that it names.
    run("dev", "other", everything=True)
    assert encrypted.recipients(contents(team)["secrets/other.yaml"]) == {MINE.recipient}
    assert len(told) == 3


def test_all_means_also_what_no_environment_uses(team: Project) -> None:
    unused = team.root / "secrets/former.yaml"
    unused.write_bytes((team.root / "secrets/dev.yaml").read_bytes())
    team.write(".sops.yaml", rules(MINE.recipient))
    run("dev", "other", everything=True)
    assert encrypted.recipients(unused.read_bytes()) == {MINE.recipient}


def test_nobody_to_let_out(team: Project, told: list[str]) -> None:
    run("dev")
    [said] = told
    assert "Nobody was let out: take the recipient out of .sops.yaml" in said


def test_interrupted_is_finished_by_the_same(
    team: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(team)
    team.write(".sops.yaml", rules(MINE.recipient))
    write = files.write_atomically
    written: list[object] = []

    def killed(*arguments: object) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(arguments)
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(files, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        run("dev")
    now = contents(team)
    assert sum(now[path] != before[path] for path in FILES) == 1
    monkeypatch.setattr(files, "write_atomically", write)
    run("dev")
    for path in FILES:
        assert encrypted.recipients(contents(team)[path]) == {MINE.recipient}
        assert not leaver_reads(before[path], contents(team)[path])


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (rules(LEAVING.recipient), "it is encrypted for other age keys than yours"),
        ("creation_rules:\n  - path_regex: nothing$\n    age: x\n", "sops does not encrypt it"),
        (
            f"creation_rules:\n  - age: {MINE.recipient}\n    encrypted_regex: ^a$\n",
            "sops leaves values in plain text",
        ),
    ],
)
def test_nothing_is_written_where_one_file_does_not_go(
    team: Project, rule: str, message: str
) -> None:
    before = contents(team)
    team.write(".sops.yaml", rule)
    with pytest.raises(SecretsError, match=message):
        run("dev")
    assert contents(team) == before


def test_without_rules_or_files(team: Project) -> None:
    team.remove(".sops.yaml")
    with pytest.raises(SecretsError, match=r"there is no \.sops\.yaml, which says who"):
        run("dev")
    team.write(".sops.yaml", rules(MINE.recipient))
    for path in FILES:
        team.remove(path)
    with pytest.raises(SecretsError, match="there is no encrypted file to rekey"):
        run("dev")


def test_target(team: Project) -> None:
    team.write(".sops.yaml", rules(MINE.recipient))
    done = team.ok("rekey", "--config", "env=all")
    assert f"no longer for {LEAVING.recipient}" in done.output
    for path, content in contents(team).items():
        assert encrypted.recipients(content) == {MINE.recipient}, path
    assert "hunter2" not in done.output
