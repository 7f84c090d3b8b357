"""From what a person types after ``talosmake`` to the snakemake command that does it (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from talosmake.base.errors import ConfigError
from talosmake.cli.targets import Target


@dataclass(frozen=True)
class Options:
    """What goes to Snakemake as it is.

    :ivar jobs: how many jobs at a time; None for the profile's number.
    :ivar more: further options of Snakemake's, as they were typed after ``--``.
    """

    dry_run: bool = False
    jobs: int | None = None
    keep_going: bool = False
    more: Sequence[str] = ()


def arguments(target: Target, words: Sequence[str], options: Options) -> list[str]:
    """The arguments of snakemake.

    :param words: the environment, then ``key=value`` pairs, or values alone for ``target.words``.
    :raises ConfigError: for a word that is not asked for, or a key that is given twice.
    """
    values: dict[str, str] = {}
    free = list(target.words)
    if target.takes_env:
        free.insert(0, "env")
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            if not free:
                raise ConfigError(
                    f"{target.name}: {word!r} is one word too many",
                    hint=f"It takes {_usage(target)}, and key=value pairs.",
                )
            key, value = free[0], word
        if key in values:
            raise ConfigError(f"{target.name}: {key} is given twice: {values[key]}, {value}")
        if key in free:
            free.remove(key)
        values[key] = value
    return [
        *([target.name] if target.name else []),
        # Snakemake takes all that follows --config for values, up to the next option.
        *(["--config", *(f"{key}={value}" for key, value in values.items())] if values else []),
        *(["-n"] if options.dry_run else []),
        *([f"-j{options.jobs}"] if options.jobs else []),
        *(["--keep-going"] if options.keep_going else []),
        *options.more,
    ]


def _usage(target: Target) -> str:
    names = (["ENV"] if target.takes_env else []) + [word.upper() for word in target.words]
    return " ".join(names) or "no words"
