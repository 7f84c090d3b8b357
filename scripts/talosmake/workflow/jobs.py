"""Between Snakemake and the modules: running a step as a job, and showing its errors."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, ParamSpec, TypeVar

from talosmake.base import files, progress, refusals, this_run
from talosmake.base.errors import BusyError, TalosmakeError
from talosmake.report import journal
from talosmake.workflow.snakemake import SpawnedJobError

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _no_traceback(_error: BaseException, _value: object = None) -> None:
    return None


class JobFailed(SpawnedJobError):  # type: ignore[misc]  # noqa: N818 - what happened
    """A job failed and its message was shown already.

    Snakemake shows no second message for a SpawnedJobError, unless the traceback leads into a
    rule; so this error carries none.
    """

    __traceback__ = property(_no_traceback, _no_traceback)


def run(
    log: Sequence[str], step: Callable[_P, int | None], *args: _P.args, **kwargs: _P.kwargs
) -> None:
    """Run a step as (part of) a job; a person's mistake is shown as its message alone.

    :param log: the job's log file, which also gets what the step says and its error.
    :param step: what to do; the exit code with which the run is to end if it returns one.
    """
    try:
        with progress.also_into(Path(log[0])), journal.noted(Path(log[0])):
            try:
                files.ignore_all(Path(log[0]).parent)
                code = step(*args, **kwargs)
            except (TalosmakeError, OSError) as error:
                progress.fail(f"Error: {_told(error)}")
                raise JobFailed from None
    except OSError as error:  # of the log file itself
        progress.fail(f"Error: {_told(error)}")
        raise JobFailed from None
    if code:
        end_with(code)


def or_exit(read: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Read something while the workflow is parsed or its DAG is built; a mistake ends it all."""
    try:
        return read(*args, **kwargs)
    except (TalosmakeError, OSError) as error:
        exit_with(_told(error))


def _told(error: TalosmakeError | OSError) -> TalosmakeError:
    return refusals.as_error(error) if isinstance(error, OSError) else error


def exit_with(error: TalosmakeError) -> NoReturn:
    """Show the error and end this process with exit code 1."""
    print(f"Error: {error}", file=sys.stderr)
    sys.exit(1)


def end_with(code: int) -> None:
    """Have a run that succeeds end with another exit code than 0."""
    this_run.current().exit_codes.append(code)


def end() -> None:
    """End the run with the exit code that a job asked for; to be called when it succeeded."""
    if codes := this_run.current().exit_codes:
        sys.exit(max(codes))


def lock_environment(environment: str, state: Path) -> None:
    """Keep other runs away from an environment until this process ends, however it ends.

    The kernel drops the lock with the process, so that a killed run leaves nothing to clean up;
    Snakemake's own locks stay behind and are switched off in the profile.

    :raises BusyError: when another run holds it.
    :raises ConfigError: when the lock cannot be made.
    """
    path = state / "lock"
    files.output_directory(state.parent)
    files.private_directory(state)
    try:
        handle = path.open("a+")
    except OSError as error:
        raise refusals.as_error(error, path, "cannot be written") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with handle:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
        raise BusyError(
            f"{environment}: another run is at work on this environment (process {holder})",
            hint="Wait until it ends, then run the same command again.",
        ) from None
    # Without who holds it, it holds as well.
    with contextlib.suppress(OSError):
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
    this_run.current().held.append(handle)
