"""The live view, as a person at a terminal sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import time

import pyte

from tests.project import Project

VIEW = ("-j4", "--logger", "talosmake", "--config", "env=lab")
_ROWS, _COLUMNS = 24, 100


class Terminal:
    """Snakemake on a terminal of its own, and what is on its screen."""

    def __init__(self, project: Project, *arguments: str) -> None:
        self.screen = pyte.HistoryScreen(_COLUMNS, _ROWS, history=2000)
        self._stream = pyte.ByteStream(self.screen)
        self._side, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            project.command(*arguments),
            cwd=project.root,
            env={**project.variables, "TERM": "xterm"},
            stdin=theirs,
            stdout=theirs,
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
            "".join(line[column].data for column in range(_COLUMNS)).rstrip()
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


def test_interrupted(lab: Project, network: str) -> None:
    lab.node("lab", "workers", "worker_1", f"{network}.201", "NODE_MAC=52:54:00:00:00:21\n")
    lab.ok("validate", "-j4", "--config", "env=lab")
    lab.ok(".simulator/lab/ready", "-j1", "--config", "env=lab")
    faults = lab.write(".simulator/lab/faults.tmp", f'{{"{network}.201": [{{"fault": "refuse"}}]}}')
    faults.rename(lab.root / ".simulator/lab/faults.json")
    terminal = Terminal(lab, *VIEW)
    terminal.watch("waiting for the Talos API")
    os.kill(terminal.process.pid, signal.SIGINT)
    terminal.watch()
    assert terminal.process.returncode != 0
    assert "The same command goes on where this one stopped." in terminal.text.replace("\n", " ")
    assert not terminal.screen.cursor.hidden


def test_elsewhere_it_is_snakemakes_own_output(lab: Project) -> None:
    """Word for word, times and numbers apart."""
    plain = lab.ok("validate", "-j1", "-n", "--config", "env=lab")
    other = lab.ok("validate", "-j1", "-n", "--logger", "talosmake", "--config", "env=lab")
    assert len(plain.jobs) > 5
    assert other.jobs == plain.jobs
    run = lab.ok("validate", *VIEW)
    assert "validate_config:lab/worker_1" in run.jobs
    assert "\x1b[" not in run.output
