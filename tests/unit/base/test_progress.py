from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from talosmake.base import interruption, progress
from talosmake.base import wait as base_wait
from talosmake.base.errors import NodeError
from talosmake.base.wait import Wait
from tests.project import REPOSITORY


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_wait, "_FIRST_POLL", 0.001)
    monkeypatch.setattr(base_wait, "_SLOWEST_POLL", 0.002)


def test_condition_is_tried_once_even_without_time() -> None:
    tries = 0
    for _ in Wait("dev/cp_1", "its API", timeout=0):
        tries += 1
        break
    assert tries == 1


def vain(wait: Wait, reason: str = "") -> NodeError:
    def wait_on() -> None:
        for attempt in wait:
            attempt.because(reason)

    with pytest.raises(NodeError) as error:
        wait_on()
    return error.value


def test_time_out_says_who_what_how_long_and_why() -> None:
    error = vain(Wait("dev/cp_1", "its API", timeout=0.01, hint="Look."), "connection refused")
    assert error.message == (
        "dev/cp_1: timed out after 0 s waiting for its API; last: connection refused"
    )
    assert error.hint == "Look."


def test_time_out_without_a_reason() -> None:
    assert vain(Wait("dev", "x", timeout=0)).message == "dev: timed out after 0 s waiting for x"


def test_reason_is_one_short_line() -> None:
    wait = Wait("dev", "x", 0)
    wait.because("first\nsecond")
    assert wait.reason == "first"
    wait.because("y" * 1000)
    assert len(wait.reason) == 300
    wait.because("")
    assert wait.reason == ""


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (
            'rpc error: code = Unavailable desc = connection error: desc = "transport: '
            'authentication handshake failed: EOF"',
            "authentication handshake failed: EOF",
        ),
        (
            "error getting version: rpc error: code = DeadlineExceeded desc = context deadline "
            "exceeded",
            "context deadline exceeded",
        ),
        ("10.9.0.11:50000: connection refused", "10.9.0.11:50000: connection refused"),
    ],
)
def test_reason_has_no_wrapping(told: str, shown: str) -> None:
    wait = Wait("dev", "x", 0)
    wait.because(told)
    assert wait.reason == shown


def test_last_try_is_after_the_time_is_over_not_before() -> None:
    tries: list[int] = []
    with pytest.raises(NodeError):
        tries.extend(1 for _ in Wait("dev", "x", timeout=0.05))
    assert len(tries) > 2


def test_long_wait_says_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(base_wait, "say", said.append)
    monkeypatch.setattr(base_wait, "_SAY_AFTER", 0.01)
    monkeypatch.setattr(base_wait, "_SAY_EVERY", 0.01)
    vain(Wait("dev/cp_1", "its API", timeout=0.1), "refused")
    assert len(said) > 1
    assert set(said) == {"dev/cp_1: waiting for its API (0 of 0 s): refused"}


def test_short_wait_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(base_wait, "say", said.append)
    vain(Wait("dev/cp_1", "its API", timeout=0.02))
    assert said == []


def test_interruption_ends_a_wait_at_once() -> None:
    timer = threading.Timer(0.02, interruption.stop)
    timer.start()
    error = vain(Wait("dev/cp_1", "its API", timeout=60))
    assert error.message == "dev/cp_1: stopped waiting for its API: interrupted"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_waits_and_still_does_what_it_did(number: signal.Signals) -> None:
    program = (
        "import os, threading\n"
        "from talosmake.base import wait\n"
        "wait.stop_waiting_on_interrupt()\n"
        f"threading.Timer(0.2, os.kill, (os.getpid(), {int(number)})).start()\n"
        "try:\n"
        "    for _ in wait.Wait('dev', 'x', 60): pass\n"
        "except BaseException as error:\n"
        "    print(type(error).__name__, wait.cancelled(), flush=True)\n"
        "    raise\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=REPOSITORY / "scripts", capture_output=True, text=True, timeout=30, check=False
    )
    if number is signal.SIGINT:
        assert done.stdout == "KeyboardInterrupt True\n"
    assert done.returncode == -number


def test_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    hung_up = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        base_wait.stop_waiting_on_interrupt()
        base_wait.end_as_on_interrupt()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGHUP)
        assert not base_wait.cancelled()
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGHUP, hung_up)
        signal.signal(signal.SIGTERM, terminate)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_being_told_to_end_is_as_an_interrupt_whatever_handler_was_there(
    number: signal.Signals,
) -> None:
    """And the second time it changes nothing: what was begun is being ended."""
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(number, lambda *_: None)
        base_wait.end_as_on_interrupt()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert base_wait.cancelled()
        signal.raise_signal(number)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def test_what_is_said_goes_into_the_log_of_its_thread_only(tmp_path: Path) -> None:
    def other() -> None:
        progress.say("from elsewhere")

    with progress.also_into(tmp_path / "log"):
        progress.say("one")
        progress.warn("two")
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        progress.fail("three")
    progress.say("afterwards")
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["one", "two", "three"]
    assert os.environ.get("TZ", "") or lines[0].split(" ")[0].endswith("Z")
