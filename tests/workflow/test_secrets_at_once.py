"""Two people, or two terminals, make the first secrets at the same time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import REPOSITORY, Project

# Each process waits until all are there, so that they really meet.
_MAKE = """\
import sys, time
from pathlib import Path
from talosmake.inventory import environments
from talosmake.secrets import create
Path(f"ready-{sys.argv[2]}").touch()
while len(list(Path().glob("ready-*"))) < 3: time.sleep(0.005)
create.say = print
create.make(environments.load(sys.argv[1]), sys.argv[3])
"""


@pytest.mark.parametrize(
    ("names", "which"),
    [
        (("dev", "dev", "dev"), "own"),
        (("dev", "prod", "staging"), "own"),
        (("dev", "prod", "staging"), "shared"),
    ],
)
def test_no_key_is_lost(project: Project, names: tuple[str, ...], which: str) -> None:
    for number, name in enumerate(dict.fromkeys(names)):
        project.environment(name)
        project.node(name, "control_planes", "cp_1", f"10.{number}.0.11")
    env = {**project.variables, "PYTHONPATH": str(REPOSITORY / "scripts")}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _MAKE, name, str(number), which],
            cwd=project.root,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number, name in enumerate(names)
    ]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    # Who made the key is told to keep it, and it decrypts all bundles.
    key = Path(project.env["SOPS_AGE_KEY_FILE"])
    told = [text for text in said if f"made the age key {key}" in text]
    assert len(told) == 1
    assert f"Back up {key} now" in told[0]
    bundles = sorted((project.root / "secrets").glob("*.yaml"))
    own = [project.root / f"secrets/{name}.yaml" for name in sorted(set(names))]
    assert bundles == (own if which == "own" else [project.root / "secrets/secrets.yaml"])
    for bundle in bundles:
        done = project.run("sops", "decrypt", bundle)
        assert done.code == 0, done.output
    assert not list((project.root / "secrets").glob(".*.tmp"))
