"""``talosmake``: the entry point, built with click (https://click.palletsprojects.com)."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from talosmake.base.errors import TalosmakeError
from talosmake.base.program import ROOT, version
from talosmake.base.streams import outlive_readers
from talosmake.cli import demo, migrate, repository, run, targets, tools, update
from talosmake.cli.targets import Target
from talosmake.inventory import known_keys
from talosmake.secrets import check

_ENVIRONMENTS = Path("patches/envs")


class _Group(click.Group):
    """Shows a person's mistake as its message alone."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except TalosmakeError as error:
            click.echo(f"Error: {error}", err=True)
            context.exit(1)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Each target runs one snakemake command, which is printed first.",
)
@click.version_option(version(), prog_name="talosmake")
def talosmake() -> None:
    """Talos Linux clusters from Git.

    talosmake TARGET ENV [KEY=VALUE ...], e.g.  talosmake up prod -j4
    """


def main() -> None:
    """The console script."""
    outlive_readers()
    talosmake(prog_name="talosmake")


def _directories(path: Path) -> list[str]:
    """The names of directories that completion may offer; odd names are left out."""
    try:
        names = [entry.name for entry in path.iterdir() if entry.is_dir()]
    except OSError:
        return []
    return sorted(name for name in names if re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name))


def _nodes(env: str) -> list[str]:
    roles = [_ENVIRONMENTS / env / role for role in ("control_planes", "workers")]
    return sorted({name for role in roles for name in _directories(role)})


def _complete(
    target: Target,
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    def complete(
        context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        words: Sequence[str] = context.params.get("words") or ()
        offered = _offered(target, words, incomplete)
        return [CompletionItem(text) for text in offered if text.startswith(incomplete)]

    return complete


def _offered(target: Target, words: Sequence[str], incomplete: str) -> list[str]:
    """What may stand next.

    :param words: the words before it.
    """
    plain = [word for word in words if "=" not in word]
    env = plain[0] if plain and target.takes_env else ""
    key, equals, _ = incomplete.partition("=")
    if equals:
        values = _nodes(env) if key in ("node", "confirm") else list(known_keys.words(key))
        values += [env] if key == "confirm" and env else []
        return [f"{key}={value}" for value in values]
    free = [*(["env"] if target.takes_env else []), *target.words][len(plain) :]
    offered = [f"{name}=" for name in target.keys]
    if free[:1] == ["node"]:
        offered += _nodes(env)
    elif free[:1] and free[0] in ("env", "from", "to"):
        offered += [*_directories(_ENVIRONMENTS), *(["all"] if free[0] == "env" else [])]
    return offered


def _command(target: Target) -> click.Command:
    name = target.name or "all"
    usage = (["[ENV]"] if target.takes_env else []) + [f"[{w.upper()}]" for w in target.words]

    def callback(
        words: tuple[str, ...],
        dry_run: bool,
        jobs: int | None,
        keep_going: bool,
        more: tuple[str, ...],
    ) -> None:
        options = run.Options(dry_run, jobs, keep_going, more)
        snakemake(run.arguments(target, words, options))

    text = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", target.does).replace("`", "")
    keys = [f"{key}=" for key in target.keys]
    if keys:
        text += f"\n\nKeys: {' '.join(keys)}"
    return click.Command(
        name,
        callback=callback,
        short_help=text.partition("\n")[0],
        help=text[0].upper() + text[1:],
        params=[
            click.Argument(
                ["words"],
                nargs=-1,
                metavar=" ".join([*usage, "[KEY=VALUE]..."]),
                shell_complete=_complete(target),
            ),
            click.Option(
                ["-n", "--dry-run"], is_flag=True, help="Show what would be done, and why."
            ),
            click.Option(["-j", "--jobs"], type=click.IntRange(min=1), help="Jobs at a time."),
            click.Option(
                ["-k", "--keep-going"], is_flag=True, help="Go on with what does not need it."
            ),
            click.Option(
                ["-o", "--option", "more"],
                multiple=True,
                help="An option of snakemake's, e.g. -o --forceall.",
            ),
        ],
    )


def snakemake(arguments: Sequence[str]) -> None:
    """Print the snakemake command and become it, so that signals and exit code are its own."""
    program = Path(sys.executable).with_name("snakemake")
    own = [] if Path("Snakefile").exists() else ["-s", str(ROOT / "Snakefile")]
    click.echo(f"+ {shlex.join(['snakemake', *own, *arguments])}", err=True)
    sys.stdout.flush()
    os.execv(program, [str(program), *own, *arguments])  # noqa: S606 - no shell on purpose


for _target in targets.TARGETS:
    talosmake.add_command(_command(_target))


@talosmake.command("init")
@click.argument("directory", type=click.Path(path_type=Path), default=Path())
@click.option("--env", "name", help="Name of the first environment, e.g. prod.")
@click.option("--cluster", help="Name of the cluster; talos-ENV where it is left out.")
@click.option("--endpoint", help="The Kubernetes API, e.g. https://10.0.1.10:6443.")
@click.option("--control-planes", help="Addresses of the control planes, with commas.")
@click.option("--workers", help="Addresses of the workers, with commas.")
@click.option("--disk", help="The disk that Talos is installed to, e.g. /dev/sda.")
@click.option("--ci", type=click.Choice(["github", "gitlab", "none"]), help="Whose pipelines.")
@click.option("--yes", is_flag=True, help="Ask nothing; take defaults for what is left out.")
def init(directory: Path, yes: bool, **options: str | None) -> None:
    """Write a repository with data only: patches, facts, a Snakefile of three lines."""
    answers = repository.ask(options, _ask if not yes else None)
    for line in repository.write(directory, answers):
        click.echo(line)


def _ask(question: str, default: str) -> str:
    return str(click.prompt(question, default=default))


@talosmake.command("setup")
@click.option("--with", "wanted", multiple=True, type=click.Choice(["demo", "lab", "schematic"]))
def setup(wanted: tuple[str, ...]) -> None:
    """Provide talosctl, sops, age and what else is needed, in the pinned versions."""
    sys.exit(tools.set_up(wanted))


@talosmake.command("update")
@click.argument("wanted", metavar="[VERSION]", default="")
@click.option("--yes", is_flag=True, help="Raise the pin without asking, after it was shown.")
def update_(wanted: str, yes: bool) -> None:
    """Show what another version changes in every rendered config, then raise the pin to it."""
    confirm = (lambda _: True) if yes else (lambda question: click.confirm(question))
    for line in update.update(wanted, confirm):
        click.echo(line)


@talosmake.command("migrate")
@click.option("--apply", is_flag=True, help="Change the files, after it was shown.")
def migrate_(apply: bool) -> None:
    """Show what this version writes otherwise in files that talosmake made here; change them.

    What you changed yourself is left alone.
    """
    update.pin()
    for line in migrate.migrate(apply=apply):
        click.echo(line)


@talosmake.command("demo")
def demo_() -> None:
    """Bring up the demo, five simulated nodes, in this directory, which must be empty."""
    demo.write(Path())
    snakemake(["--config", "env=demo", "-j4"])


@talosmake.command("check_secrets", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1)
def check_secrets(arguments: tuple[str, ...]) -> None:
    """Look for secrets in plain text in what Git tracks; for hooks and pipelines."""
    sys.exit(check.main(arguments))


@talosmake.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete, e.g.  source <(talosmake completion bash)"""
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"{shell} is not known to click")
    click.echo(made(talosmake, {}, "talosmake", "_TALOSMAKE_COMPLETE").source())
