"""The view of a run on a terminal, redrawn all the time, with rich."""

from __future__ import annotations

import io
import sys
import textwrap
import threading
import time
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from talosmake.workflow.run_view import Running, View, clock

# How many lines there are for what the first one waits for.
_LINES = 3
_HIGHEST = 20
_DRAWN_EVERY = 0.2


class Terminal:
    """Draws the view below all that is shown, until it is closed.

    What is printed to stdout and stderr in the meantime stands above it, where they are this
    terminal; what goes to a file or a pipe goes there.

    :param stream: the terminal.
    """

    draws = True

    def __init__(self, view: View, stream: TextIO) -> None:
        self._view = view
        # Lines longer than the terminal stay whole: a command in them can be copied.
        self._console = Console(file=stream, soft_wrap=True)
        self._live = Live(
            console=self._console,
            get_renderable=self._drawn,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        # rich places the cursor, and writes later: with two threads at it, lines are left over.
        self._turn = threading.RLock()
        self._closed = threading.Event()
        self._streams = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (
            _Above(self, stream) if stream.isatty() else stream for stream in self._streams
        )
        self._live.start(refresh=True)
        self._drawing = threading.Thread(target=self._keep_drawing, daemon=True)
        self._drawing.start()

    def _drawn(self) -> RenderableType:
        rows, columns = min(self._console.height - 2, _HIGHEST), self._console.width
        return shown(self._view, time.monotonic(), rows, columns)

    def _keep_drawing(self) -> None:
        while not self._closed.wait(_DRAWN_EVERY):
            with self._turn:
                self._live.refresh()

    def show(self, text: str, style: str = "") -> None:
        """Show a text above what is drawn; it stays."""
        with self._turn:
            self._console.print(Text(text, style=style))

    def close(self) -> None:
        """Remove what is drawn, and leave the terminal as it was."""
        self._closed.set()
        self._drawing.join()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, _Above):
                stream.finish()
        sys.stdout, sys.stderr = self._streams
        with self._turn:
            self._live.stop()


class _Above(io.TextIOBase):
    """What is written here stands above what is drawn, line by line."""

    def __init__(self, terminal: Terminal, stream: TextIO) -> None:
        self._terminal = terminal
        self._stream = stream
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        if lines:
            self._terminal.show("\n".join(lines))
        return len(text)

    def flush(self) -> None:
        """Nothing: a line is shown when it is whole, or at the end."""

    def finish(self) -> None:
        """Show what is left, which no line break ended."""
        if self._rest:
            self._terminal.show(self._rest)
            self._rest = ""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()


def is_capable(stream: TextIO) -> bool:
    """Whether a terminal can be drawn on."""
    return not Console(file=stream).is_dumb_terminal


def shown(view: View, now: float, rows: int, columns: int) -> RenderableType:
    """The view as it is drawn.

    :param now: in seconds of the same clock as all other times.
    :param rows: how many lines there are for it.
    :param columns: how many characters there are in a line.
    """
    jobs = sorted(view.running.values(), key=lambda job: (not job.last_message, job.since, job.who))
    room = max(rows - 1 - _LINES, 1)
    more = len(jobs) - room
    tail = [Text(f"and {more} more", style="dim")] if more > 0 else []
    return Group(_head(view, now), _table(jobs[:room], now, columns), *tail)


def _head(view: View, now: float) -> Table:
    head = Table.grid(padding=(0, 2))
    count = f"{view.done} of {view.total} steps" if view.total else "looking what is to do"
    bar = ProgressBar(total=max(view.total, 1), completed=view.done, width=30)
    head.add_row(bar, Text(count), Text(clock(now - view.began), style="dim"))
    return head


def _table(jobs: Sequence[Running], now: float, columns: int) -> Table:
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    cells = [(job.who, job.does, clock(now - job.since)) for job in jobs]
    # How many characters of a line the columns before the last one take.
    beside = sum(max(map(len, column)) + 2 for column in zip(*cells, strict=True))
    for job, (who, does, since) in zip(jobs, cells, strict=True):
        # Whoever waits longest says the whole of it; of the others, what fits into the line.
        message = (
            _folded(job.last_message, columns - beside) if job is jobs[0] else job.last_message
        )
        table.add_row(
            Text(who, style="bold"),
            Text(does),
            Text(since, style="dim"),
            Text(message, style="dim"),
        )
    return table


def _folded(text: str, columns: int) -> str:
    return "\n".join(textwrap.wrap(text, max(columns, 20), max_lines=_LINES, placeholder=" …"))
