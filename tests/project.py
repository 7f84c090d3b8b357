"""A talosmake project in a temporary directory, and running Snakemake on it as a person does."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import forked

REPOSITORY = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

OWN_OUTPUT = "--logger-talosmake-off"

# Without Cilium, which has its own tests.
CLUSTER_ENV = """\
CLUSTER_NAME=talos-test
CLUSTER_ENDPOINT=https://10.9.0.10:6443
TALOS_VERSION=v1.13.0
KUBERNETES_VERSION=1.36.0
TALOS_CONTRACT=v1.13
CNI_INSTALL=none
"""


@dataclass(frozen=True)
class Run:
    """How a run of Snakemake ended, and what it showed (stdout and stderr together)."""

    code: int
    output: str

    @property
    def answer(self) -> Any:
        """The JSON that was shown; talosctl warns before it of a node of another patch version."""
        return json.loads(self.output[self.output.index("{") :])

    @property
    def jobs(self) -> set[str]:
        """The jobs that Snakemake lists, as ``rule`` or ``rule:env/node``; targets left out."""
        found = set()
        for block in re.split(r"\n(?=\[|\S)", self.output):
            rule = re.search(r"^(?:local)?rule (\w+):$", block, re.MULTILINE)
            if rule is None or rule[1] in _TARGETS:
                continue
            wildcards = re.search(r"wildcards: (.*)", block)
            values = dict(re.findall(r"(\w+)=([^,\s]+)", wildcards[1])) if wildcards else {}
            where = "/".join(values[key] for key in ("env", "node") if key in values)
            found.add(f"{rule[1]}:{where}" if where else rule[1])
        return found

    @property
    def error(self) -> str:
        """The first error shown, from ``Error:`` to the next line of Snakemake's own."""
        found = re.search(
            r"^Error: .*(?:\n(?!\[|Error in rule|Removing|Trying).+)*", self.output, re.M
        )
        return found[0] if found else ""


_TARGETS = {"all", "render", "validate", "vms", "apply", "bootstrap", "up"}


@dataclass
class Project:
    """A directory with a person's files.

    :ivar env: variables for what runs in it: a home of its own, so that no key of yours is seen.
    :ivar program: where the workflow is.
    :ivar first: whose programs come before others in what runs in it.
    """

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    program: Path = REPOSITORY
    first: Path = BIN

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def remove(self, path: str) -> None:
        file = self.root / path
        shutil.rmtree(file) if file.is_dir() else file.unlink()

    def environment(self, name: str, facts: str = "", cluster_env: str = CLUSTER_ENV) -> None:
        self.write(f"patches/envs/{name}/cluster.env", cluster_env + facts)
        disk = "machine:\n  install:\n    disk: /dev/vda\n"
        self.write(f"patches/envs/{name}/common.yaml", disk)

    def node(self, env: str, role: str, name: str, address: str, facts: str = "") -> None:
        """A node's directory.

        :param role: the directory's name: control_planes or workers.
        """
        self.write(f"patches/envs/{env}/{role}/{name}/node.env", f"NODE_IP={address}\n{facts}")

    def patch(self, env: str, role: str, node: str, text: str, name: str = "node.yaml") -> None:
        self.write(f"patches/envs/{env}/{role}/{node}/{name}", text)

    def lab(self, network: str) -> None:
        """An environment of simulated nodes, lab: three control planes, two workers.

        :param network: the first three numbers of their addresses.
        """
        simulated = CLUSTER_ENV.replace("10.9.0.10", f"{network}.11")
        facts = "NODE_TIMEOUT=30\nETCD_TIMEOUT=30\nCALL_TIMEOUT=5\n"
        facts = f"SIMULATED=true\nGOAL=bootstrapped\n{facts}"
        self.environment("lab", facts, cluster_env=simulated)
        for number in (1, 2, 3):
            address, mac = f"{network}.1{number}", f"NODE_MAC=52:54:00:00:00:1{number}\n"
            self.node("lab", "control_planes", f"cp_{number}", address, mac)
        for number in (1, 2):
            address, mac = f"{network}.2{number}", f"NODE_MAC=52:54:00:00:00:2{number}\n"
            self.node("lab", "workers", f"worker_{number}", address, mac)

    def command(self, *arguments: str) -> list[str]:
        return [str(BIN / "snakemake"), "-s", str(self.program / "Snakefile"), *arguments]

    def snakemake(self, *arguments: str, timeout: float = 180) -> Run:
        """Run Snakemake in the project, with its own output, which tells of every job."""
        command = self.command(OWN_OUTPUT, *arguments)
        with forked.server() as server:
            return Run(*server.run(command, self.root, self.variables, timeout))

    def ok(self, *arguments: str, timeout: float = 180) -> Run:
        """Run Snakemake and insist on success."""
        run = self.snakemake(*arguments, timeout=timeout)
        assert run.code == 0, run.output
        return run

    def fails(self, *arguments: str, timeout: float = 180) -> str:
        """Run Snakemake and insist on a clear error: not 0, a message, no traceback.

        :returns: the message.
        """
        run = self.snakemake(*arguments, timeout=timeout)
        assert run.code != 0, run.output
        assert "Traceback" not in run.output, run.output
        assert not re.search(r'File ".*", line \d+', run.output), run.output
        assert run.error, run.output
        return run.error

    @property
    def variables(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SOPS_", "TALOS"))}
        path = os.pathsep.join(map(str, dict.fromkeys((self.first, BIN))))
        return {**kept, **self.env, "PATH": f"{path}{os.pathsep}{kept['PATH']}"}

    def run(self, *argv: str | Path, stdin: bytes = b"", timeout: float = 120) -> Run:
        """Run any program in the project, with the project's variables."""
        done = subprocess.run(
            [str(part) for part in argv],
            cwd=self.root,
            env=self.variables,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
        return Run(done.returncode, done.stdout.decode(errors="replace"))

    def talosctl(self, env: str, address: str, *arguments: str) -> Run:
        """Ask one node with the environment's talosconfig."""
        config = f"rendered_configs/{env}/talosconfig"
        target = ["--talosconfig", config, "-n", address, "-e", address]
        return self.run(BIN / "talosctl", *arguments, *target)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start Snakemake in a process group of its own, to be interrupted."""
        return subprocess.Popen(
            self.command(OWN_OUTPUT, *arguments),
            cwd=self.root,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    @contextlib.contextmanager
    def fleet(self, nodes: Sequence[dict[str, str]]) -> Iterator[Path]:
        """Simulated nodes that the workflow does not know of, with their state in fleet/."""
        self.write("fleet/nodes.json", json.dumps(nodes))
        with self._simulator("fleet") as state:
            yield state

    @contextlib.contextmanager
    def powered_on(self) -> Iterator[None]:
        """The simulated nodes of the environment lab, as they were when they were stopped."""
        with self._simulator(".simulator/lab"):
            yield

    @contextlib.contextmanager
    def _simulator(self, directory: str) -> Iterator[Path]:
        # As the workflow starts it, which may stop it, too.
        state = self.root / directory
        command = [str(BIN / "talos-simulator"), "serve", "--state", directory]
        with (state / "log").open("ab") as log:
            process = subprocess.Popen(
                [*command, "--nodes", f"{directory}/nodes.json"],
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            end = time.monotonic() + 60
            while not (state / "ready").exists():
                assert process.poll() is None, (state / "log").read_text()
                assert time.monotonic() < end, "the simulated nodes do not start"
                time.sleep(0.05)
            yield state
        finally:
            process.terminate()
            process.wait(10)

    def stop_simulators(self) -> None:
        """End the simulated nodes that this project started."""
        for pid_file in self.root.glob(".simulator/*/pid"):
            try:
                pid = int(pid_file.read_text())
                if b"talos-simulator" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                    continue
                os.kill(pid, signal.SIGTERM)
                _wait_gone(pid)
            except (ValueError, OSError):
                continue


def _wait_gone(pid: int, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "Z":
            return
        time.sleep(0.02)


def files_below(root: Path) -> Sequence[Path]:
    """Every regular file below a directory."""
    return [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]


def encrypted(text: str, recipient: str, name: str) -> str:
    """A YAML text as ``sops encrypt`` leaves it in the file of that name."""
    command: list[str | Path] = [BIN / "sops", "encrypt", "--age", recipient]
    command += ["--input-type", "yaml", "--output-type", "yaml", "--filename-override", name]
    done = subprocess.run(command, input=text, capture_output=True, check=True, text=True)
    return done.stdout
