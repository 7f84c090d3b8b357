"""``apply.sh``: the deployment of an environment without Snakemake."""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment as Jinja
from jinja2 import FileSystemLoader, StrictUndefined

from talosmake.base import files, talosctls
from talosmake.inventory import locks
from talosmake.inventory.model import Environment, Node
from talosmake.talos.etcd import WITHOUT_ETCD

TEMPLATES = Path(__file__).parent / "templates"
_TEMPLATE = "apply.sh.j2"


def render_apply_script(environment: Environment) -> str:
    """The text of apply.sh: addresses and file names, and nothing secret."""
    # Shell text, not HTML: what goes into it is quoted for the shell.
    jinja = Jinja(  # noqa: S701
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True
    )
    jinja.filters["quote"] = shlex.quote
    jinja.filters["words"] = lambda node: shlex.join(_words(node))
    options = environment.options
    return jinja.get_template(_TEMPLATE).render(
        env=environment.name,
        cluster=environment.cluster.name,
        talosctl=environment.cluster.talosctl,
        minor=talosctls.text(talosctls.minor(environment.cluster.talosctl)),
        lock=locks.roll_out_path(environment.cluster).name,
        said=list(_notes(environment)),
        workers=environment.workers,
        control_planes=environment.control_planes,
        without_etcd=WITHOUT_ETCD,
        # Up, because `timeout 0` waits for ever.
        node_timeout=math.ceil(options.node_timeout),
        etcd_timeout=math.ceil(options.etcd_timeout),
        call_timeout=max(1, math.ceil(options.call_timeout)),
    )


def _notes(environment: Environment) -> Iterator[str]:
    """What apply.sh says before it begins."""
    if environment.cluster.simulated:
        yield "The nodes of this environment are simulated."
    unchecked = [node.name for node in environment.nodes if not (node.mac or node.uuid)]
    if unchecked:
        yield (
            "Without NODE_MAC, so any machine in maintenance mode at their address gets their "
            f"config: {', '.join(unchecked)}"
        )


def _words(node: Node) -> list[str]:
    """The arguments of ``apply`` in apply.sh, in its order."""
    return [
        *(str(node.role), node.name, node.address, node.endpoint, node.maintenance_address),
        *(node.hostname, node.mac if node.mac_check else "", node.uuid, node.cert_fingerprint),
    ]


def write_apply_script(environment: Environment) -> None:
    """Write apply.sh, executable for its owner."""
    files.output_directory(environment.paths.root)
    text = render_apply_script(environment)
    files.write_atomically(environment.paths.apply_script, text, files.EXECUTABLE_FILE)


def facts_digest(environment: Environment) -> str:
    """A digest of all that apply.sh is made of, so that it is made again only when that changes."""
    options = environment.options
    facts = [
        *(environment.cluster.name, environment.cluster.endpoint, environment.cluster.talosctl),
        list(_notes(environment)),
        [options.node_timeout, options.etcd_timeout, options.call_timeout],
        [_words(node) for node in environment.nodes],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
