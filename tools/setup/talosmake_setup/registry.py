"""The programs that are provided, each pinned in its directory below tools/."""

from __future__ import annotations

from dataclasses import dataclass

# What debuggers read is left out when programs are linked; not making it saves a tenth of the time.
BUILD_FLAGS = (
    *("-mod=readonly", "-trimpath", "-buildvcs=false"),
    *("-gcflags=all=-dwarf=false", "-ldflags", "-s -w"),
)


@dataclass(frozen=True)
class Tool:
    """A program that the workflow calls.

    :ivar directory: below ``tools/``: its ``go.mod`` pins the version, or it is our own source.
    :ivar programs: what is put into ``.venv/bin``.
    :ivar minutes: about how long building takes on two cores, with nothing in Go's caches.
    :ivar module: whose version ``go.mod`` pins; empty for our own source.
    :ivar version_command: how it tells its version.
    :ivar exact: only the pinned version will do, because its output must be the same everywhere.
    :ivar version_variable: the variable in its code that its makers set to the version when they
        build it; empty where Go's own record of the version is told.
    """

    directory: str
    programs: tuple[str, ...]
    minutes: float
    module: str = ""
    version_command: tuple[str, ...] = ()
    exact: bool = False
    version_variable: str = ""

    def build_flags(self, version: str) -> tuple[str, ...]:
        """What Go is told when it builds this version."""
        if not self.version_variable:
            return BUILD_FLAGS
        return (*BUILD_FLAGS[:-1], f"{BUILD_FLAGS[-1]} -X {self.version_variable}=v{version}")


AGE = Tool("age", ("age", "age-keygen"), 1, "filippo.io/age", ("--version",))
SOPS = Tool(
    directory="sops",
    programs=("sops",),
    minutes=3,
    module="github.com/getsops/sops/v3",
    version_command=("--version", "--disable-version-check"),
)
TALOSCTL = Tool(
    directory="talosctl",
    programs=("talosctl",),
    minutes=5,
    module="github.com/siderolabs/talos",
    version_command=("version", "--client", "--short"),
    exact=True,
)
HELM = Tool(
    directory="helm",
    programs=("helm",),
    minutes=5,
    module="helm.sh/helm/v4",
    version_command=("version", "--template", "{{.Version}}"),
    exact=True,
    version_variable="helm.sh/helm/v4/internal/version.version",
)
# For the tests only: it reads the pipelines in .github/workflows and examples/github.
ACTIONLINT = Tool(
    "actionlint", ("actionlint",), 1, "github.com/rhysd/actionlint", ("-version",), exact=True
)
SIMULATOR = Tool("simulator", ("talos-simulator",), 2)
# Tells the ids of schematics; for environments that have one, and for tests.
SCHEMATIC = Tool("schematic", ("schematic-id",), 1)
# What runs in the lab's real Talos nodes, and not here.
MACHINED = Tool("talos-node/machined", ("machined",), 3, "github.com/siderolabs/talos")
GUEST_TOOLS = (
    MACHINED,
    Tool(
        "talos-node/containerd",
        ("containerd", "containerd-shim-runc-v2"),
        2,
        "github.com/containerd/containerd/v2",
    ),
    Tool("talos-node/etcd", ("server",), 1, "go.etcd.io/etcd/server/v3"),
)
# The module of Talos's that has its JSON schema.
MACHINERY = "github.com/siderolabs/talos/pkg/machinery"
SCHEMA = "config.schema.json"
