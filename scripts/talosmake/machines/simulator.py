"""The one module that starts and stops talos-simulator: simulated nodes, for demo and tests."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import subprocess
from pathlib import Path

from talosmake.base import files
from talosmake.base.process import daemon_environment, find
from talosmake.base.progress import say
from talosmake.base.wait import Wait
from talosmake.inventory.model import Environment
from talosmake.inventory.removed import removed_nodes
from talosmake.machines import daemon, occupied

STATE = Path(".simulator")
_STOP_TIMEOUT = 20.0


def state_directory(environment: Environment) -> Path:
    """Where the simulated nodes of an environment keep what they were given."""
    return STATE / environment.name


def nodes_json(environment: Environment) -> str:
    """The simulator's list of nodes; those removed from Git still stand there until their reset."""
    known = {node.address for node in environment.nodes}
    removed = [node for node in removed_nodes(environment) if node.address not in known]
    nodes = [
        {"address": node.address}
        | ({"mac": node.mac} if node.mac else {})
        | ({"uuid": node.uuid} if node.uuid else {})
        for node in (*environment.nodes, *removed)
    ]
    return json.dumps(nodes, indent=2) + "\n"


def nodes_digest(environment: Environment) -> str:
    """Changes when a node or an address does."""
    return hashlib.sha256(nodes_json(environment).encode()).hexdigest()


def ready_file(environment: Environment) -> Path:
    """There while the simulated nodes run; their process makes it and takes it away."""
    return state_directory(environment) / "ready"


def left_behind(environment: Environment) -> bool:
    """Whether :func:`ready_file` is there although the process was killed."""
    return ready_file(environment).exists() and not running(environment)


def running(environment: Environment) -> bool:
    """Whether the simulated nodes run: their process holds a lock as long as it lives."""
    try:
        with (state_directory(environment) / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def start(environment: Environment) -> None:
    """Start the simulated nodes, or tell the running ones about added and removed nodes.

    :raises NodeError: when they do not come up.
    """
    directory = state_directory(environment)
    files.output_directory(directory)
    nodes = directory / "nodes.json"
    changed = not nodes.exists() or nodes.read_text() != nodes_json(environment)
    files.write_atomically(nodes, nodes_json(environment))
    if not running(environment):
        occupied.check(environment.name, [node.address for node in environment.nodes])
        _spawn(environment, directory, nodes)
    elif changed:
        os.kill(int((directory / "pid").read_text()), signal.SIGHUP)
    count = len(environment.nodes)
    say(
        f"{environment.name}: {count} simulated nodes run on loopback addresses (log: "
        f"{directory / 'log'}; stop them: snakemake simulator_stop --config env={environment.name})"
    )
    # Snakemake removes a job's output before the job, also while the simulated nodes run.
    ready_file(environment).touch()


def _spawn(environment: Environment, directory: Path, nodes: Path) -> None:
    ready = ready_file(environment)
    ready.unlink(missing_ok=True)
    command = [find("talos-simulator"), "serve", "--state", str(directory), "--nodes", str(nodes)]
    with (directory / "log").open("ab") as log:
        # A session of its own: Ctrl-C at the workflow must not end the nodes.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=daemon_environment(),
            start_new_session=True,
        )
    what = "the simulated nodes"
    daemon.wait_until_started(environment.name, what, process, ready.exists, directory / "log")


def stop(environment: Environment) -> None:
    """Stop the simulated nodes; what they were given stays for the next start."""
    if not running(environment):
        say(f"{environment.name}: no simulated nodes run")
        return
    os.kill(int((state_directory(environment) / "pid").read_text()), signal.SIGTERM)
    for _ in Wait(environment.name, "the simulated nodes to stop", _STOP_TIMEOUT):
        if not running(environment):
            break
    say(f"{environment.name}: the simulated nodes are stopped")
