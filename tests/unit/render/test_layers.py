"""What a node's config is made of is read once a job, and decrypted once a run."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from talosmake.base import marker, this_run
from talosmake.base.errors import PatchError
from talosmake.checks import validate
from talosmake.inventory import environments
from talosmake.inventory.model import Environment, Node
from talosmake.render import disclosure, machine_config
from talosmake.render.layers import NodeLayers
from talosmake.report import diff, explain
from talosmake.secrets import age, sops
from talosmake.talos import generate
from tests.project import Project, encrypted

KEY = age.new_key()
WORKER = "patches/envs/dev/workers/worker_1"
SECRET, PLAIN, BUNDLE = f"{WORKER}/a.sops.yaml", f"{WORKER}/plain.yaml", "secrets/dev.yaml"
_opened: Counter[str] = Counter()


def _count(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str | os.PathLike):
        _opened[os.fspath(arguments[0])] += 1


sys.addaudithook(_count)  # which stays, as Python has it


@pytest.fixture
def worker(small: Project) -> tuple[Environment, Node]:
    Path(small.env["SOPS_AGE_KEY_FILE"]).write_bytes(KEY.identity)
    bundle = generate.gen_secrets("v1.13").decode()
    sysctls = "machine:\n  sysctls:\n    {}: {}\n"
    for path, text in ((BUNDLE, bundle), (SECRET, sysctls.format("a", "hunter2hunter2"))):
        small.write(path, encrypted(text, KEY.recipient, path))
    small.write(PLAIN, sysctls.format("b", "first") + "    a: second\n")
    environment = environments.load("dev")
    node = environment.workers[0]
    machine_config.write_config(environment, node)
    validate.validate_config(environment, node)
    config = environment.paths.config(node).read_bytes()
    disclosure.write_applied(NodeLayers(environment, node), config)
    marker.write(environment.paths.applied(node), step="applied", sha256="0" * 64)
    return environment, node


@pytest.fixture
def decrypted(worker: object, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are decrypted from now on, once the worker has its config."""
    found: list[Path] = []
    real = sops.decrypt

    def decrypt(ciphertext: bytes, path: Path, key_file: Path | None = None) -> bytes:
        found.append(path)
        return real(ciphertext, path, key_file)

    monkeypatch.setattr(sops, "decrypt", decrypt)
    return found


JOBS: dict[str, Callable[[Environment, Node], object]] = {
    "render": machine_config.render,
    "explain": explain.explain,
    "diff": diff.to_applied,
}


@pytest.mark.parametrize("job", JOBS)
def test_a_job_reads_each_file_once(
    job: str, worker: tuple[Environment, Node], decrypted: list[Path]
) -> None:
    this_run.begin()
    _opened.clear()
    JOBS[job](*worker)
    assert [_opened[path] for path in (BUNDLE, SECRET, PLAIN)] == [1, 1, 1]
    assert sorted(map(str, decrypted)) == sorted((BUNDLE, SECRET))
    JOBS[job](*worker)  # the next job of the run decrypts none again
    assert len(decrypted) == 2
    assert _opened[PLAIN] == 2


def test_validating_with_lint_decrypts_the_bundle_for_findings_alone(
    worker: tuple[Environment, Node], decrypted: list[Path]
) -> None:
    environment, node = worker
    this_run.begin()
    Path(PLAIN).write_text("machine:\n  sysctls:\n    b: first\n")
    environment.paths.linted_node(node).unlink()
    validate.validate_config(environment, node)
    assert set(map(str, decrypted)) == {SECRET}


def test_nothing_is_read_before_it_is_asked_for(worker: tuple[Environment, Node]) -> None:
    environment, node = worker
    Path(PLAIN).write_text("- no patch\n")
    own = NodeLayers(environment, node)
    assert own.bundle
    with pytest.raises(PatchError, match=r"plain\.yaml: a JSON6902 patch"):
        assert own.layers


def test_layers_know_who_wrote_them(worker: tuple[Environment, Node]) -> None:
    own = NodeLayers(*worker)
    plain, secret = [layer for layer in own.layers if not layer.generated][-2:][::-1]
    assert (plain.is_plain, secret.is_plain) == (True, False)
    assert plain.where(0, ("machine", "sysctls", "a")) == f"{PLAIN}:4"
    assert secret.where(0, ("machine", "sysctls", "a")) == SECRET
    assert [patch.path for patch in own.encrypted] == [Path(SECRET)]
