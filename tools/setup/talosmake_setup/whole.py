"""The whole of set-up, and its command line."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from talosmake_setup.debian import ensure_test_packages
from talosmake_setup.decide import OLDEST_PYTHON, wanted_tools
from talosmake_setup.demo import choose_demo
from talosmake_setup.guest import ensure_guest
from talosmake_setup.programs import ensure_schema, ensure_tool
from talosmake_setup.python import (
    ensure_command,
    ensure_environment,
    ensure_plugins,
    find_python,
    lock_requirements,
)
from talosmake_setup.steps import INTO, ROOT, VENV, SetupError, locked


def set_up(wanted: Sequence[str]) -> None:
    """Make everything that is asked for."""
    with locked((VENV if INTO else ROOT) / ".setup.lock", str(VENV)):
        if "test" in wanted:
            ensure_test_packages()
        if not INTO:  # an installed talosmake has its Python packages
            ensure_environment(wanted)
            ensure_plugins()
            ensure_command()
        # Of an installed talosmake, this is called in a person's repository.
        data = Path.cwd() if INTO else ROOT
        places = [data / "config/config.yaml", *data.glob("patches/envs/**/*.env")]
        facts = [path.read_text(errors="replace") for path in places if path.is_file()]
        parts = set(wanted)
        if "demo" in parts:
            parts.add("lab" if choose_demo() == "demo-real" else "simulated")
        tools = wanted_tools(parts, facts)
        for tool in tools:
            if not tool.guest:
                ensure_tool(tool)
            if tool.minor:
                ensure_schema(tool)
        if guests := [tool for tool in tools if tool.guest]:
            ensure_guest(guests)


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Set up what is asked for; exit code 1 with a message when that is not possible."""
    parser = argparse.ArgumentParser(description="Sets up talosmake; safe to run again.")
    parser.add_argument(
        "--with",
        dest="wanted",
        action="append",
        choices=["demo", "lab", "schematic", "test"],
        default=[],
        help="also what the demo, a lab of real Talos nodes, schematics or the tests need",
    )
    parser.add_argument("--lock", action="store_true", help="only write requirements/*.txt")
    parser.add_argument("--upgrade", action="store_true", help="with --lock: newest versions")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    try:
        if sys.version_info < OLDEST_PYTHON:
            return subprocess.run([find_python(), *sys.argv], check=False).returncode
        if options.lock:
            lock_requirements(upgrade=options.upgrade)
        else:
            set_up(options.wanted)
    except SetupError as error:
        print(f"set-up: error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"set-up: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0
