from __future__ import annotations

import io
import sys
import threading
import time

import pyte
import pytest

from talosmake.workflow import live_view
from talosmake.workflow.run_view import View


class Screen(io.StringIO):
    """A terminal, and what is on it."""

    encoding = "utf-8"

    def __init__(self) -> None:
        super().__init__()
        self.screen = pyte.HistoryScreen(60, 20, history=5000)
        self._stream = pyte.Stream(self.screen)

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._stream.feed(text.replace("\n", "\r\n"))
        return len(text)

    @property
    def lines(self) -> list[str]:
        above = [
            "".join(line[column].data for column in range(60)) for line in self.screen.history.top
        ]
        return [line.rstrip() for line in (*above, *self.screen.display) if line.strip()]


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "20")
    monkeypatch.setattr(live_view, "_DRAWN_EVERY", 0.0005)


def test_threads_at_once_leave_nothing_over(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    view = View(began=time.monotonic(), total=200)
    shown = live_view.Terminal(view, screen)

    def work(number: int) -> None:
        for turn in range(100):
            view.start([number], now=time.monotonic())
            view.know(number, "apply_worker", {"env": "dev", "node": f"worker_{number}"})
            if number % 2:
                print(f"printed {number}.{turn}")
            else:
                shown.show(f"shown {number}.{turn}")
            view.finish(number)

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("without an end", end="")
    shown.close()
    expected = {
        f"{'printed' if number % 2 else 'shown'} {number}.{turn}"
        for number in range(4)
        for turn in range(100)
    }
    assert set(screen.lines) == expected | {"without an end"}
    assert len(screen.lines) == 401
    assert sys.stdout is screen
    assert not screen.screen.cursor.hidden
