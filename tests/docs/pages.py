"""The documentation's pages as data: which commands they show, and what those print."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.project import REPOSITORY

PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
# What a page shows that is neither a command nor its output.
NO_COMMANDS = {"text", "yaml", "env", "mermaid"}
_BLOCK = re.compile(
    # A comment before it holds what has to be done first, and is not shown.
    r"(?:^ *<!-- first:(?P<first>[^>]*(?:>(?<!-->)[^>]*)*?)-->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)(?: title=\"(?P<title>[^\"]*)\")?\n"
    r"(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Command:
    """One that a page shows.

    :ivar shown: the lines of output that the page shows; ``…`` stands for anything.
    """

    text: str
    shown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    :ivar needs: what it needs that is not on every machine; then it is not run by the tests.
    :ivar example: what it prints is different on each machine, or each time.
    :ivar first: what is to be done first, in a shell.
    """

    line: int
    language: str
    needs: str
    example: bool
    first: str
    commands: tuple[Command, ...]
    text: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, from its beginning to its end."""
    text = page.read_text()
    found = []
    for match in _BLOCK.finditer(text):
        indent = len(match["indent"])
        lines = [line[indent:] for line in match["text"].splitlines()]
        title = match["title"] or ""
        found.append(
            Block(
                text[: match.start("language")].count("\n") + 1,
                match["language"],
                title if title.startswith("needs ") else "",
                title == "for example",
                (match["first"] or "").strip(),
                _commands(match["language"], lines),
                "\n".join(lines),
            )
        )
    return found


def _commands(language: str, lines: list[str]) -> tuple[Command, ...]:
    if language == "sh":
        return (Command("\n".join(lines)),)
    if language != "console":
        return ()
    found: list[Command] = []
    for line in lines:
        if line.startswith("$ "):
            found.append(Command(line[2:]))
        else:
            found[-1] = Command(found[-1].text, (*found[-1].shown, line))
    return tuple(found)


def missing(shown: tuple[str, ...], output: str) -> list[str]:
    """The lines that a page shows and the output has not, whatever their order."""
    lines = [line.strip() for line in output.splitlines()]

    def there(line: str) -> bool:
        pattern = re.compile(".*".join(re.escape(part) for part in line.strip().split("…")))
        return any(pattern.fullmatch(each) for each in lines)

    return [line for line in shown if line.strip() and not there(line)]
