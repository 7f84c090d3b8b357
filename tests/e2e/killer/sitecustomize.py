"""Kills the whole process group of a run at one point, named by what Python itself reports.

Python imports this at its start where the directory is on PYTHONPATH; nothing of the workflow knows
of it. Points are ``<job>:<event>``. A job is named by its log file, an event is one of

* ``start``: the job's log file is opened, and nothing was done yet;
* ``write FILE``: a file was written under its temporary name, and is to be renamed;
* ``talosctl …``, ``sops …``: a program is about to be started, so all before it is done;
* ``end FILE``: the job is done, and Snakemake notes it for this output.

With ``KILLER_RECORD``, points are appended to that file; with ``KILLER_POINT``, the run ends there.
"""

from __future__ import annotations

import base64
import binascii
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

_record = os.environ.get("KILLER_RECORD", "")
_point = os.environ.get("KILLER_POINT", "")
_job = threading.local()


def _reached(job: str, event: str) -> None:
    point = f"{job}:{event}"
    if _record:
        # As one write, for threads and processes at the same time.
        line = os.open(_record, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(line, f"{point}\n".encode())
        os.close(line)
    if point == _point:
        os.killpg(0, signal.SIGKILL)


def _opened(path: Any, flags: Any) -> None:
    if not isinstance(path, str | os.PathLike) or not isinstance(flags, int):
        return
    if not flags & (os.O_WRONLY | os.O_RDWR):
        return
    parts = Path(os.fsdecode(path)).parts
    if len(parts) == 3 and parts[0] == "logs" and parts[2].endswith(".log"):
        _job.name = parts[2].removesuffix(".log")
        _reached(_job.name, "start")
    elif ".snakemake" in parts and "metadata" in parts:
        try:
            output = base64.b64decode("".join(parts[parts.index("metadata") + 1 :])).decode()
        except (binascii.Error, UnicodeDecodeError):
            return
        _reached("snakemake", f"end {output}")


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        _opened(arguments[0], arguments[2])
        return
    job = getattr(_job, "name", "")
    if job and event == "os.rename":
        _reached(job, f"write {os.fsdecode(arguments[1])}")
    elif job and event == "subprocess.Popen":
        words = [os.fsdecode(word) for word in arguments[1]]
        _reached(job, " ".join([Path(words[0]).name, *words[1:3]]))


if _record or _point:
    sys.addaudithook(_heard)
