"""helm as it is: how it reads values, and where charts come from."""

from __future__ import annotations

import hashlib
import io
import json
import ssl
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from talosmake.base import process
from talosmake.base.errors import PatchError, ToolError
from talosmake.render import helm
from tests.project import REPOSITORY, Project

PLAIN = REPOSITORY / "tests/charts/plain"

AWKWARD = """\
mac: 22:33:44:55:01:02
time: 12:30:45
date: 2026-01-02
moment: 2026-01-02T03:04:05Z
mode: 0644
newer: 0o644
hex: 0x1F
binary: 0b101
big: 1_000
number: 42
negative: -7
float: 1.50
exponent: 1e3
version: 1.10.0
switches: [yes, No, on, OFF, y, n, true, False]
nothing: [null, ~, Null]
text: ["yes", '012', !!str 012, "null"]
block: |
  a: ${b}
    c
folded: >-
  one
  two
8080: port
yes: key
merged: &anchor {a: 1, b: 2}
again:
  <<: *anchor
  b: 3
equals: =
plus: +5
empty:
"""


def taken_by_helm(text: bytes, place: Path) -> Any:
    """What a chart gets to see of a file of values."""
    (place / "values.yaml").write_bytes(text)
    argv = ["helm", "template", "x", str(PLAIN), "--values", str(place / "values.yaml")]
    done = process.run(argv)
    assert done.ok, done.stderr
    [config] = [
        document for document in yaml.safe_load_all(done.stdout) if document["kind"] == "ConfigMap"
    ]
    values = json.loads(config["data"]["values.json"])
    # The chart's own, which every render has.
    values.pop("taken", None)
    return values


def test_values_are_read_as_helm_reads_them(tmp_path: Path) -> None:
    text = AWKWARD + "ipam:\n  mode: kubernetes\n"
    ours = helm.parse_values(text, Path("values.yaml"))
    assert ours == taken_by_helm(text.encode(), tmp_path)
    assert ours["mac"] == "22:33:44:55:01:02"
    # The way in which they are handed over and put into the Job's ConfigMap.
    assert taken_by_helm(json.dumps(ours).encode(), tmp_path) == ours


@pytest.mark.parametrize("key", ["{{ CLUSTER_NAME }}", "{[a]: b}", "{{a: b}: c}"])
def test_key_that_is_no_text(key: str) -> None:
    with pytest.raises(PatchError) as error:
        helm.parse_values(f"a: 1\nname: {key}\n", Path("cilium.yaml"))
    assert error.value.message == (
        "cilium.yaml:2:8: not YAML: a key is no text; a value that starts with { or [ needs quotes"
    )


def test_template_renders_with_hooks_and_without_tests() -> None:
    rendered = helm.template(PLAIN, {"ipam": {"mode": "kubernetes"}, "taken": None}, "1.36.0")
    documents = list(yaml.safe_load_all(rendered))
    assert [(d["kind"], d["metadata"]["name"]) for d in documents] == [
        ("Namespace", "cilium-secrets"),
        ("ConfigMap", "cilium-config"),
        ("Job", "certificates"),
    ]
    data = documents[1]["data"]
    assert data["kubernetes"] == "v1.36.0"
    assert json.loads(data["values.json"]) == {"ipam": {"mode": "kubernetes"}}


def test_template_is_not_changed_by_the_users_own_helm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"ipam": {"mode": "kubernetes"}}
    before = helm.template(PLAIN, values, "1.36.0")
    for name in ("HELM_CONFIG_HOME", "HELM_PLUGINS", "HELM_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("HELM_NAMESPACE", "elsewhere")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert helm.template(PLAIN, values, "1.36.0") == before


def archive(directory: Path) -> bytes:
    """A chart as ``helm package`` makes it, with the same bytes each time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                tar.add(path, f"cilium/{path.relative_to(directory)}")
    return buffer.getvalue()


@dataclass
class Server:
    """A server of files on loopback."""

    address: str
    http: ThreadingHTTPServer
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def use_tls(self, certificate: Path, key: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            kind, content = served.files.get(self.path, ("", b""))
            self.send_response(200 if kind else 404)
            self.send_header("Content-Type", kind or "text/plain")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815 - the name is http.server's

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Server(f"127.0.0.1:{http.server_address[1]}", http)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield served
    http.shutdown()
    thread.join()
    http.server_close()


def index(version: str) -> bytes:
    entry = {"name": "cilium", "version": version, "apiVersion": "v2", "urls": ["cilium.tgz"]}
    return yaml.safe_dump({"apiVersion": "v1", "entries": {"cilium": [entry]}}).encode()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_chart_of_a_repository_is_fetched_once(
    here: Project, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALOSMAKE_CACHE", str(tmp_path / "cache"))
    chart = archive(PLAIN)
    server.files["/index.yaml"] = ("text/yaml", index("0.1.0"))
    server.files["/cilium.tgz"] = ("application/gzip", chart)
    url = f"http://{server.address}"
    path = helm.chart_path(url, "0.1.0", digest(chart))
    assert path.read_bytes() == chart
    assert path.parent == tmp_path / "cache/charts"
    assert "/cilium.tgz" in server.asked

    server.files.clear()
    server.asked.clear()
    assert helm.chart_path(url, "0.1.0", digest(chart)) == path
    assert not server.asked

    # A cached file that was damaged is not used.
    path.write_bytes(chart[:-1])
    with pytest.raises(ToolError, match=r"version 0\.1\.0 of the chart cannot be fetched"):
        helm.chart_path(url, "0.1.0", digest(chart))


def test_fetched_chart_that_is_not_the_pinned_one(
    here: Project, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALOSMAKE_CACHE", str(tmp_path / "cache"))
    chart = archive(PLAIN)
    server.files["/cilium-0.1.0.tgz"] = ("application/gzip", chart)
    url = f"http://{server.address}/cilium-0.1.0.tgz"
    with pytest.raises(PatchError) as error:
        helm.chart_path(url, "0.1.0", "0" * 64)
    assert error.value.message.startswith(f"{url}: is not the chart that is pinned: its SHA-256")
    assert digest(chart) in error.value.message
    assert not list((tmp_path / "cache/charts").iterdir())
    assert helm.chart_path(url, "0.1.0", digest(chart)).read_bytes() == chart


def test_chart_that_nobody_serves_names_ways_without_network(
    here: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALOSMAKE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ToolError) as error:
        helm.chart_path("http://127.0.0.1:9", "0.1.0", "0" * 64)
    assert "refused" in error.value.message
    assert "CNI_INSTALL=job" in error.value.hint
    assert not list((tmp_path / "cache/charts").iterdir())


def test_local_archive_is_used_where_it_is(here: Project) -> None:
    chart = archive(PLAIN)
    path = here.root / "charts/cilium.tgz"
    path.parent.mkdir()
    path.write_bytes(chart)
    assert helm.chart_path("charts/cilium.tgz", "0.1.0", digest(chart)) == Path("charts/cilium.tgz")


def test_chart_of_an_oci_registry(
    here: Project, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALOSMAKE_CACHE", str(tmp_path / "cache"))
    # There wherever Go builds tools: Debian's ca-certificates brings it.
    request = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=test"
    extension = ["-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"]
    done = here.run(*request.split(), *extension, "-keyout", "tls.key", "-out", "tls.crt")
    assert done.code == 0, done.output
    server.use_tls(here.root / "tls.crt", here.root / "tls.key")
    monkeypatch.setenv("SSL_CERT_FILE", str(here.root / "tls.crt"))
    chart = archive(PLAIN)
    config = json.dumps({"name": "cilium", "version": "0.1.0", "apiVersion": "v2"}).encode()
    layer = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
    described = [
        {"mediaType": kind, "digest": f"sha256:{digest(content)}", "size": len(content)}
        for kind, content in (("application/vnd.cncf.helm.config.v1+json", config), (layer, chart))
    ]
    manifest = json.dumps({"schemaVersion": 2, "config": described[0], "layers": described[1:]})
    kind = "application/vnd.oci.image.manifest.v1+json"
    for name in ("0.1.0", f"sha256:{digest(manifest.encode())}"):
        server.files[f"/v2/charts/cilium/manifests/{name}"] = (kind, manifest.encode())
    for content in (config, chart):
        path = f"/v2/charts/cilium/blobs/sha256:{digest(content)}"
        server.files[path] = ("application/octet-stream", content)
    fetched = helm.chart_path(f"oci://{server.address}/charts/cilium", "0.1.0", digest(chart))
    assert fetched.read_bytes() == chart
