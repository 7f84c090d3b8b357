"""``apply.sh``: the deployment of an environment without Snakemake."""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from pathlib import Path

from jinja2 import Environment as Jinja
from jinja2 import FileSystemLoader, StrictUndefined

from scripts import files
from scripts.model import Environment, Node
from scripts.rollout import WITHOUT_ETCD

TEMPLATES = Path(__file__).parent / "templates"
_TEMPLATE = "apply.sh.j2"


def render_apply_script(environment: Environment) -> str:
    """The text of apply.sh: addresses and file names, and nothing secret."""
    # Shell text, not HTML: what goes into it is quoted for the shell.
    jinja = Jinja(  # noqa: S701
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True
    )
    jinja.filters["quote"] = shlex.quote
    return jinja.get_template(_TEMPLATE).render(
        env=environment.name,
        cluster=environment.cluster.name,
        simulated=environment.cluster.simulated,
        workers=environment.workers,
        control_planes=environment.control_planes,
        first=environment.first_control_plane.address,
        unchecked=[node.name for node in environment.nodes if not (node.mac or node.uuid)],
        apply_mode=environment.settings.apply_mode,
        without_etcd=WITHOUT_ETCD,
        # Up, because `timeout 0` waits for ever.
        node_timeout=math.ceil(environment.settings.node_timeout),
        etcd_timeout=math.ceil(environment.settings.etcd_timeout),
        call_timeout=max(1, math.ceil(environment.settings.call_timeout)),
    )


def write_apply_script(environment: Environment) -> None:
    """Write apply.sh, executable for its owner."""
    files.private_directory(environment.paths.root)
    text = render_apply_script(environment)
    files.write_atomically(environment.paths.apply_script, text, files.EXECUTABLE_FILE)


def facts_digest(environment: Environment) -> str:
    """A digest of all that apply.sh is made of, so that it is made anew only when that changes."""
    settings = environment.settings
    facts = [
        environment.cluster.name,
        environment.cluster.simulated,
        settings.apply_mode,
        [settings.node_timeout, settings.etcd_timeout, settings.call_timeout],
        [_facts(node) for node in environment.nodes],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _facts(node: Node) -> list[object]:
    return [
        *(node.name, node.role, node.target, node.maintenance_address),
        *(node.mac, node.mac_check, node.uuid, node.cert_fingerprint),
    ]
