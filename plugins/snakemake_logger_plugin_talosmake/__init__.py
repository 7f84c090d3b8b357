"""The live view of a run, by Snakemake's logger plugin interface, as the profile's ``logger``.

Where the output is no terminal, it is Snakemake's own. set-up makes this module known to .venv.
"""

import sys
import time
from dataclasses import dataclass, field
from logging import ERROR, WARNING, LogRecord
from pathlib import Path
from typing import TYPE_CHECKING

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

if TYPE_CHECKING:
    from rich.live import Live as LiveDisplay

# What the view needs is imported when there is one to draw: Snakemake imports this at every start.
if (_code := str(Path(__file__).resolve().parents[2])) not in sys.path:
    sys.path.insert(0, _code)


# What Snakemake says before and between jobs, of no use to somebody who sees the view.
_NOISE = ("Assuming unrestricted", "Building DAG", "Using shell", "Select jobs", "Execute ")
_INTERRUPTED = "Terminating processes on user request"


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):  # type: ignore[misc]  # no types there
    """What Snakemake's command line can set."""

    plain: bool = field(
        default=False, metadata={"help": "Show Snakemake's own output, also on a terminal."}
    )


class LogHandler(LogHandlerBase):  # type: ignore[misc]  # snakemake's interface has no types here
    """Draws the view on a terminal; elsewhere does nothing, and Snakemake writes its own output."""

    def __post_init__(self) -> None:
        """Begin to draw, where there is somebody to see it."""
        self.live: LiveDisplay | None = None
        shown = self.common_settings
        stream = sys.stdout if shown.stdout else sys.stderr
        own = shown.dryrun or shown.quiet or shown.verbose or shown.printshellcmds
        if own or self.settings.plain or not stream.isatty():
            return
        from rich.console import Console
        from rich.live import Live

        from scripts import view

        self._shown = view.shown
        self.view = view.View(time.monotonic())
        # Lines longer than the terminal stay whole: a command in them can be copied.
        self.console = Console(file=stream, soft_wrap=True)
        if self.console.is_dumb_terminal:
            return
        # What is written to a file or a pipe goes there, and not above the view.
        self.live = Live(
            console=self.console,
            get_renderable=self._drawn,
            refresh_per_second=5,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )
        self.live.start()

    def _drawn(self) -> object:
        rows, columns = min(self.console.height - 2, 20), self.console.width
        return self._shown(self.view, time.monotonic(), rows, columns)

    def emit(self, record: LogRecord) -> None:
        """Take in one message of Snakemake's or of a step."""
        if self.live is None:
            return
        event = getattr(record, "event", None)
        if event is None:
            self._said(record)
        else:
            self._happened(event, record)

    def _happened(self, event: str, record: LogRecord) -> None:
        told = record.__dict__
        if event == LogEvent.JOB_INFO:
            self.view.know(told["jobid"], told["rule_name"], dict(told.get("wildcards") or {}))
        elif event == LogEvent.JOB_STARTED:
            self.view.start(told["jobs"], time.monotonic())
        elif event == LogEvent.JOB_FINISHED:
            self.view.finish(told["job_id"])
        elif event == LogEvent.JOB_ERROR:
            self.view.finish(told["jobid"])
            logs = ", ".join(told.get("log") or ())
            self.view.errors.append(f"  log: {logs}" if logs else "")
        elif event == LogEvent.PROGRESS:
            self.view.done, self.view.total = told["done"], told["total"]
        elif event == LogEvent.RUN_INFO:
            self.view.total = int((told.get("stats") or {}).get("total", 0))
        elif event == LogEvent.ERROR:
            self.view.errors.append(record.getMessage())

    def _said(self, record: LogRecord) -> None:
        from rich.text import Text

        text = record.getMessage()
        if _INTERRUPTED in text:
            self.view.interrupted = True
        elif record.levelno >= ERROR:
            self.view.errors.append(text)
        elif record.levelno >= WARNING:
            self.console.print(Text(text, style="yellow"))
        elif not self.view.hear(text) and text != "None" and not text.startswith(_NOISE):
            self.console.print(Text(text))

    def close(self) -> None:
        """Leave a clean terminal, with what failed and how to go on."""
        from rich.text import Text

        if self.live is not None:
            self.live.stop()
            self.live = None
            for error in filter(None, dict.fromkeys(self.view.errors)):
                self.console.print(Text(error, style="bold red" if "Error" in error else ""))
            if self.view.interrupted:
                self.console.print(
                    f"Interrupted after {self.view.done} of {self.view.total} steps. The same "
                    "command goes on where this one stopped."
                )
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        """Whether it takes the place of Snakemake's own output."""
        return self.live is not None

    @property
    def writes_to_file(self) -> bool:
        """Snakemake's log file stays as it is."""
        return False

    @property
    def has_filter(self) -> bool:
        """What it leaves out it decides itself."""
        return True

    @property
    def has_formatter(self) -> bool:
        """It has its own form."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """It draws no graph."""
        return False
