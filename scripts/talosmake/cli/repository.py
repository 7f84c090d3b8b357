"""A repository of one's own: what ``talosmake init`` asks, and the files that it writes."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from jinja2 import Environment as Jinja
from jinja2 import FileSystemLoader, StrictUndefined

from talosmake.base.errors import ConfigError
from talosmake.base.program import ROOT, version
from talosmake.base.tools import AGE, HELM, SOPS, TALOSCTL, numbers
from talosmake.cli import pipelines
from talosmake.inventory import canonical, repository_format
from talosmake.patches import layout

_TEMPLATES = Path(__file__).parent / "templates"
# The newest that the pinned talosctl makes by default.
_KUBERNETES = "1.36.0"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,61}")
_HOOKS = ".githooks"
_HOOK = f"{_HOOKS}/pre-commit"


@dataclass(frozen=True)
class Answers:
    """What a new repository is about.

    :ivar name: of the first environment.
    :ivar endpoint: of the Kubernetes API: an https URL with a port.
    :ivar control_planes: their addresses.
    :ivar workers: theirs.
    :ivar disk: that Talos is installed to.
    :ivar ci: whose pipelines are written: ``github``, ``gitlab`` or ``none``.
    """

    name: str
    cluster: str
    endpoint: str
    control_planes: tuple[str, ...]
    workers: tuple[str, ...]
    disk: str
    ci: str

    @property
    def vip(self) -> str:
        """The address of the endpoint, where it is no node's: the control planes share it."""
        host = urlsplit(self.endpoint).hostname or ""
        nodes = (*self.control_planes, *self.workers)
        return host if canonical.is_address(host) and host not in nodes else ""


def ask(options: Mapping[str, str | None], question: Callable[[str, str], str] | None) -> Answers:
    """What options do not say is asked, or has a default where nobody is to be asked.

    :param options: by the name of the option, with ``_`` for ``-``.
    :param question: puts a question with its default, and returns the answer; None asks nothing.
    :raises ConfigError: for an answer that cannot be used.
    """

    def answer(key: str, text: str, default: str) -> str:
        value = options.get(key)
        if value is None:
            value = question(text, default) if question else default
        return value.strip()

    name = _matching(answer("name", "Environment", "prod"), _NAME, "environment", "prod")
    cluster = answer("cluster", "Name of the cluster", f"talos-{name}")
    planes = _addresses(answer("control_planes", "Control planes (addresses)", "10.0.1.11"))
    if not planes:
        raise ConfigError("there is no control plane", hint="Give --control-planes=10.0.1.11")
    workers = _addresses(answer("workers", "Workers (addresses; may be empty)", ""))
    endpoint = answer("endpoint", "Kubernetes API", f"https://{_in_url(planes[0])}:6443")
    disk = answer("disk", "Disk to install to", "/dev/sda")
    ci = answer("ci", "Pipelines for (github, gitlab, none)", "none")
    if ci not in ("github", "gitlab", "none"):
        raise ConfigError(f"pipelines for {ci!r}: must be github, gitlab or none")
    twice = sorted({one for one in (*planes, *workers) if (*planes, *workers).count(one) > 1})
    if twice:
        raise ConfigError(f"{', '.join(twice)}: two nodes have this address")
    return Answers(name, cluster, endpoint, planes, workers, disk, ci)


def _matching(text: str, pattern: re.Pattern[str], what: str, example: str) -> str:
    if not pattern.fullmatch(text):
        raise ConfigError(f"{text!r} is no name for an {what}", hint=f"Write it as in {example}.")
    return text


def _addresses(text: str) -> tuple[str, ...]:
    parts = [part for part in re.split(r"[,\s]+", text) if part]
    wrong = [part for part in parts if not canonical.is_address(part)]
    if wrong:
        raise ConfigError(
            f"{', '.join(wrong)}: no IP address", hint="Write addresses as in 10.0.1.11,10.0.1.12"
        )
    return tuple(str(ipaddress.ip_address(part)) for part in parts)


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _from_template(
    name: str, answers: Answers | None = None, talosctls: Collection[str] = ()
) -> str:
    jinja = Jinja(  # noqa: S701 - no HTML
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    values = {
        "answers": answers,
        "version": version(),
        "talos": TALOSCTL.pinned,
        "contract": ".".join(TALOSCTL.pinned.split(".")[:2]),
        "documents": numbers(TALOSCTL.pinned)[:2] >= layout.DOCUMENTS,
        "kubernetes": _KUBERNETES,
        "talosctls": sorted(talosctls or [TALOSCTL.pinned], key=_first),
        "tools": {"sops": SOPS, "age": AGE, "helm": HELM},
    }
    return jinja.get_template(f"{name}.j2").render(values)


def _first(version: str) -> tuple[bool, list[int]]:
    """Sorts versions of talosctl: that of the plain name, then the newest (as set-up has it)."""
    is_default = numbers(version)[:2] == numbers(TALOSCTL.pinned)[:2]
    return not is_default, [-number for number in numbers(version)]


def owned(talosctls: Collection[str] = ()) -> dict[str, str]:
    """The files, by their paths, that are the program's rather than a person's.

    They are the same in every repository with the same versions of Talos, and another version of
    the program may write them otherwise (:mod:`talosmake.cli.migrate`).

    :param talosctls: the versions that the environments need; none are those of a new repository.
    """
    return {
        "Snakefile": _from_template("Snakefile"),
        ".gitignore": _from_template("gitignore"),
        _HOOK: _from_template("pre-commit"),
        "mise.toml": _from_template("mise.toml", talosctls=talosctls),
        "profiles/default/profile.yaml": _packaged("profiles/default/profile.yaml"),
    }


def content(answers: Answers) -> dict[str, str]:
    """The files of the repository, pipelines apart, by their paths."""

    def text(template: str) -> str:
        return _from_template(template, answers)

    environment = f"patches/envs/{answers.name}"
    ours = owned()
    files = ours | {
        str(repository_format.FILE): repository_format.text(
            {path: repository_format.digest(content) for path, content in ours.items()}
        ),
        "README.md": text("README.md"),
        "requirements.txt": f"talosmake=={version()}\n",
        "config/config.yaml": text("config.yaml"),
        "patches/common.yaml": _packaged("patches/common.yaml"),
        f"{environment}/cluster.env": text("cluster.env"),
        f"{environment}/common.yaml": text("common.yaml"),
    }
    if answers.vip:
        files[f"{environment}/control_planes/common.yaml"] = text("vip.yaml")
    for role, name, addresses in (
        ("control_planes", "cp", answers.control_planes),
        ("workers", "worker", answers.workers),
    ):
        for number, address in enumerate(addresses, 1):
            files[f"{environment}/{role}/{name}_{number}/node.env"] = _node(address)
    return files


def _packaged(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def _node(address: str) -> str:
    return (
        f"NODE_IP={address}\n"
        "# The card's MAC address, so that no other machine gets this node's config.\n"
        "# 'snakemake nodes' and 'talosctl get links --insecure' show it.\n"
        "# NODE_MAC=\n"
    )


def write(directory: Path, answers: Answers) -> Iterator[str]:
    """Write the repository; tells what was made and what comes next.

    :raises ConfigError: when one of the files is there already; nothing is written then.
    """
    top, below = pipelines.place(directory)
    texts = {directory / path: text for path, text in content(answers).items()}
    around = directory if below == PurePosixPath() else top
    texts |= {around / path: text for path, text in pipelines.files(answers.ci, below).items()}
    there = [str(path) for path in texts if path.exists()]
    if there:
        raise ConfigError(
            f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} there already; "
            "nothing was written",
            hint="Name an empty directory:  talosmake init DIRECTORY",
        )
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            if path == directory / _HOOK:
                path.chmod(0o755)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
    name = answers.name
    yield f"{directory}: {len(texts)} files, for the environment {name}. Next, there:"
    yield from _hook_switched_on(top, below)
    yield f"  talosmake secrets {name}       # make its secrets; back up the age key that is named"
    yield f"  talosmake validate {name} -j4  # render and validate; contacts no machine"
    yield f"  talosmake up {name} -j4        # the machines are booted from Talos: all the way"
    if elsewhere := [str(path) for path in texts if directory not in path.parents]:
        yield f"Pipelines, where GitHub looks for them: {', '.join(elsewhere)}"
    if answers.ci == "gitlab" and below != PurePosixPath():
        yield f"In GitLab, Settings, CI/CD, CI/CD configuration file:  {below}/.gitlab-ci.yml"


def _hook_switched_on(top: Path, below: PurePosixPath) -> Iterator[str]:
    if below == PurePosixPath():
        yield "  git init && git config core.hooksPath .githooks"
        return
    yield f"  git config core.hooksPath {shlex.quote(str(below / _HOOKS))}"
    yield f"    # {top} has hooks of its own? Call {below / _HOOK} from its pre-commit instead."
