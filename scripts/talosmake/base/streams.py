"""Standard output and standard error that outlive their readers."""

from __future__ import annotations

import errno
import io
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


# A closed pipe, and a terminal that is gone.
_NO_READER = (errno.EPIPE, errno.EIO)


class _Outliving(io.FileIO):
    """A file that takes everything; what nobody reads any more goes nowhere."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in _NO_READER:
                raise
            return memoryview(data).nbytes


def outlive_readers() -> None:
    """Let a run do its work to the end, and end as it would have, when its reader leaves early.

    That is what ``| head`` does, and leaving a pager; otherwise the next line ends the step that
    prints it, or the thread that shows what steps say.
    """
    sys.stdout, sys.stderr = _outliving(sys.stdout), _outliving(sys.stderr)


def _outliving(stream: TextIO) -> TextIO:
    # Only what Python itself opened: not None where there is none, and not what draws a live view.
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    file = getattr(stream.buffer, "raw", stream.buffer)  # PYTHONUNBUFFERED leaves the buffer out
    if isinstance(file, _Outliving):
        return stream
    stream.flush()
    outliving = _Outliving(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        outliving if file is stream.buffer else io.BufferedWriter(outliving),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
