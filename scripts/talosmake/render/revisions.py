"""Which revision of our code makes each output, raised when it makes other bytes of the same input.

A digest of the code would make all nodes stale, and have all of them asked, for a comment. So each
rule that makes a file has a number as a parameter, and a job runs again when it is another one.
Raise a number when golden files of it change (tests/golden/test_revisions.py insists on it), or
when what was made before is not to be used any more.
"""

from __future__ import annotations

# A node's machine config, by scripts/talosmake/render/machine_config.py and what it calls.
RENDER = 1
# The layer that carries Cilium.
CILIUM_LAYER = 1
# What is refused of a config, and its `.validated` marker. All nodes are asked when it is raised.
VALIDATE = 2
# What lint finds. It reaches no node.
LINT = 6
# The talosconfig of a client certificate and endpoints.
TALOSCONFIG = 1
# apply.sh.
APPLY_SCRIPT = 5
