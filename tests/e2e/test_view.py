"""What a run shows: the live view, as a person at a terminal sees it, and lines elsewhere."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time
from typing import IO

import pyte
import pytest

from tests.project import OWN_OUTPUT, Project

VIEW = ("-j4", "--config", "env=lab")
_ROWS = 24


class Terminal:
    """Snakemake on a terminal of its own, and what is on its screen."""

    def __init__(
        self,
        project: Project,
        *arguments: str,
        columns: int = 100,
        stdout: IO[bytes] | None = None,
    ) -> None:
        self.screen = pyte.HistoryScreen(columns, _ROWS, history=2000)
        self._stream = pyte.ByteStream(self.screen)
        self._side, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, columns, 0, 0))
        self.process = subprocess.Popen(
            project.command(*arguments),
            cwd=project.root,
            env={**project.variables, "TERM": "xterm"},
            stdin=theirs,
            stdout=theirs if stdout is None else stdout,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.seen: set[str] = set()

    def watch(self, until: str = "", seconds: float = 120) -> None:
        """Look at the screen until a text is on it, or until the run ends."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                data = os.read(self._side, 4096)
            except OSError:  # the other side was closed
                self.process.wait(30)
                return
            self._stream.feed(data)
            self.seen.update(line.rstrip() for line in self.screen.display)
            if until and any(until in line for line in self.screen.display):
                return
        raise AssertionError("\n".join(self.screen.display))

    @property
    def text(self) -> str:
        """All that is left on the terminal, also above the screen."""
        above = [
            "".join(line[column].data for column in range(self.screen.columns)).rstrip()
            for line in self.screen.history.top
        ]
        return "\n".join([*above, *(line.rstrip() for line in self.screen.display)])


def test_a_run_from_nothing(lab: Project) -> None:
    terminal = Terminal(lab, *VIEW)
    terminal.watch()
    assert terminal.process.returncode == 0, terminal.text
    assert any(" steps  " in line and " of " in line for line in terminal.seen)
    assert any(line.startswith("lab/cp_1  applying") for line in terminal.seen), terminal.seen
    # What was drawn is gone; what counts stays.
    assert " steps  " not in terminal.text
    assert "lab: 3 control planes and 2 workers: 5 applied; bootstrapped" in terminal.text
    assert "Select jobs" not in terminal.text
    assert not terminal.screen.cursor.hidden


def test_errors_stand_at_the_end(lab: Project) -> None:
    lab.patch("lab", "workers", "worker_1", "machine: {netwrok: {}}\n")
    terminal = Terminal(lab, *VIEW, "--keep-going")
    terminal.watch()
    assert terminal.process.returncode == 1
    text = terminal.text
    error = text.index("Error: patches/envs/lab/workers/worker_1/node.yaml: talosctl refuses it")
    assert "log: logs/lab/worker-worker_1.render.log" in text[error:]
    assert not terminal.screen.cursor.hidden


def _refusing_node(lab: Project, network: str) -> None:
    lab.node("lab", "workers", "worker_1", f"{network}.201", "NODE_MAC=52:54:00:00:00:21\n")
    lab.ok("validate", "-j4", "--config", "env=lab")
    lab.ok(".simulator/lab/ready", "-j1", "--config", "env=lab")
    faults = lab.write(".simulator/lab/faults.tmp", f'{{"{network}.201": [{{"fault": "refuse"}}]}}')
    faults.rename(lab.root / ".simulator/lab/faults.json")


def test_interrupted(lab: Project, network: str) -> None:
    _refusing_node(lab, network)
    terminal = Terminal(lab, *VIEW)
    terminal.watch("waiting for the Talos API")
    os.kill(terminal.process.pid, signal.SIGINT)
    terminal.watch()
    assert terminal.process.returncode != 0
    assert "The same command goes on where this one stopped." in terminal.text.replace("\n", " ")
    assert not terminal.screen.cursor.hidden


def test_a_mistake_before_anything_runs(lab: Project) -> None:
    lab.write("patches/envs/lab/workers/worker_1/node.env", "NODE_IP=10.9.0.256\n")
    terminal = Terminal(lab, *VIEW)
    terminal.watch()
    assert terminal.process.returncode == 1
    assert "Error: patches/envs/lab/workers/worker_1/node.env:1: NODE_IP=" in terminal.text
    assert not terminal.screen.cursor.hidden


def test_what_goes_to_a_file_arrives_there(lab: Project) -> None:
    with (lab.root / "nodes").open("wb") as file:
        terminal = Terminal(lab, "nodes", *VIEW, stdout=file)
        terminal.watch()
    assert terminal.process.returncode == 0, terminal.text
    assert lab.read("nodes") == _nodes(lab)
    assert "worker_1" not in terminal.text


def test_what_is_shown_of_nodes_is_whole(lab: Project) -> None:
    """A long line is the terminal's to break: what one copies from it has no line breaks in it."""
    columns, plain = 60, _nodes(lab)
    assert max(map(len, plain.splitlines())) > columns
    terminal = Terminal(lab, "nodes", *VIEW, columns=columns)
    terminal.watch()
    for line in plain.splitlines():
        broken = [line[at : at + columns].rstrip() for at in range(0, len(line), columns)]
        assert "\n".join(broken) in terminal.text


def _nodes(lab: Project) -> str:
    """What the target shows where nobody draws anything."""
    output = lab.ok("nodes", "--quiet", "all", "--config", "env=lab").output
    return output[output.index("lab: cluster") :]


@pytest.mark.parametrize("options", [OWN_OUTPUT, "--verbose", "-p", "-n"])
def test_snakemakes_own_output_on_a_terminal(lab: Project, options: str) -> None:
    terminal = Terminal(lab, "validate", options, *VIEW)
    terminal.watch()
    assert terminal.process.returncode == 0, terminal.text
    assert "rule validate_config:" in terminal.text
    assert not any(" steps  " in line for line in terminal.seen)


def test_quiet_on_a_terminal(lab: Project) -> None:
    terminal = Terminal(lab, "validate", "--quiet", "all", *VIEW)
    terminal.watch()
    assert terminal.process.returncode == 0, terminal.text
    assert "rule" not in terminal.text
    assert not any(" steps  " in line for line in terminal.seen)


def _lines(lab: Project, *arguments: str) -> tuple[int, list[str]]:
    """What a pipeline's log has of a run."""
    run = lab.run(*lab.command(*arguments))
    assert "\x1b[" not in run.output
    assert "rule " not in run.output
    return run.code, run.output.splitlines()


def test_plain_lines_where_there_is_no_terminal(lab: Project) -> None:
    code, lines = _lines(lab, *VIEW)
    assert code == 0, lines
    steps = [line for line in lines if re.match(r" *\d+ of 23  lab", line)]
    # All but the target itself, each once, counted.
    assert [int(line.split()[0]) for line in steps] == list(range(1, 23))
    assert any(line.partition("  ")[2].startswith("lab/cp_1: validated") for line in steps)
    assert steps[-1].partition("  ")[2].startswith(("lab/worker", "lab: kubeconfig"))
    # What is printed at the end stands below the last step.
    summary = lines.index("lab: 3 control planes and 2 workers: 5 applied; bootstrapped")
    assert summary > max(map(lines.index, steps))
    assert "Nothing to be done" in "".join(_lines(lab, *VIEW)[1])


def test_plain_lines_about_what_failed(lab: Project) -> None:
    for worker in ("worker_1", "worker_2"):
        lab.patch("lab", "workers", worker, "machine: {netwrok: {}}\n")
    code, lines = _lines(lab, "validate", "--keep-going", *VIEW)
    assert code == 1
    failed = [line.strip() for line in lines if line.strip().startswith("failed ")]
    assert {line.partition(" (")[0] for line in failed} == {
        "failed  lab/worker_1: rendering",
        "failed  lab/worker_2: rendering",
    }
    # Errors stand together at the end, each with its log file.
    last_step = max(i for i, line in enumerate(lines) if re.match(r" *\d+ of \d+  ", line))
    for worker in ("worker_1", "worker_2"):
        [error] = [i for i, line in enumerate(lines) if f"refuses it for lab/{worker}" in line]
        log = lines.index(f"  log: logs/lab/worker-{worker}.render.log")
        assert last_step < error < log
    assert lines[-1] == (
        "2 failed, 9 of 15 steps are done. When what is wrong is fixed, the same command goes on."
    )


def test_plain_lines_of_an_interrupted_run(lab: Project, network: str) -> None:
    process = _waiting_for_a_node(lab, network)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0].decode()
    assert process.returncode != 0
    assert "lab/worker_1: waiting for the Talos API" in output
    assert "The same command goes on where this one stopped." in output


def _waiting_for_a_node(lab: Project, network: str) -> subprocess.Popen[bytes]:
    """A run, not on a terminal, that waits for a node which refuses to answer."""
    _refusing_node(lab, network)
    process = _piped(lab, subprocess.STDOUT, *VIEW)
    log = lab.root / "logs/lab/worker-worker_1.apply.log"
    end = time.monotonic() + 60
    while not (log.exists() and "waiting for the Talos API" in log.read_text()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return process


@pytest.mark.parametrize("arguments", ["doctor", "nodes", "validate", "validate -n"])
def test_reader_of_the_output_that_leaves_at_once(lab: Project, arguments: str) -> None:
    """As with ``| head``: stderr tells nothing of it, and the exit code is the same."""
    with _piped(lab, subprocess.PIPE, *arguments.split(), *VIEW) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        shown = process.stderr.read().decode()
    assert process.returncode == 0, shown
    assert not re.search(r"Error|Exception|failed", shown), shown


@pytest.mark.parametrize("options", [[], [OWN_OUTPUT]])
def test_run_that_nobody_reads_any_more_does_its_work(lab: Project, options: list[str]) -> None:
    """As with ``2>&1 | head -1``."""
    with _piped(lab, subprocess.STDOUT, *options, *VIEW) as process:
        assert process.stdout
        assert process.stdout.readline()
        process.stdout.close()
    assert process.returncode == 0
    assert (lab.root / "rendered_configs/lab/kubeconfig").exists()
    nodes = _nodes(lab)
    assert ", bootstrapped" in nodes
    assert nodes.count("running") == 5


def _piped(lab: Project, stderr: int, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        lab.command(*arguments),
        cwd=lab.root,
        env=lab.variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )
