from __future__ import annotations

import json
import stat
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from talosmake.base import certificates, this_run
from talosmake.base.errors import SecretsError
from talosmake.inventory import environments, lifetimes
from talosmake.inventory.access import Access
from talosmake.inventory.model import Environment
from talosmake.render import credentials
from talosmake.secrets import bundles
from talosmake.talos import client_certificates, observe, talosctl
from talosmake.talos import generate as talos_generate
from tests.aged import CONTRACT, KEPT, SPOILED, age
from tests.project import Project


@pytest.fixture(scope="session")
def bundle() -> bytes:
    return talos_generate.gen_secrets(CONTRACT)


@pytest.fixture
def dev(project: Project, monkeypatch: pytest.MonkeyPatch, bundle: bytes) -> Environment:
    project.environment("dev")
    project.node("dev", "control_planes", "cp_1", "10.9.0.11")
    project.write("secrets/dev.yaml", "stands for the encrypted one\n")
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(bundles, "bundle_of", lambda _: bundle)
    this_run.begin()  # as a new process, which has asked nothing yet
    return environments.load("dev")


def _good(dev: Environment, bundle: bytes, role: str = "os:admin") -> None:
    """The talosconfig that is there can be used."""
    for path in (dev.paths.talosconfig, dev.paths.client_certificate):
        read = certificates.of_talosconfig(path.read_bytes())
        ca = yaml.safe_load(bundle)["certs"]["os"]["crt"]
        assert read.ca == certificates.ca_digest(ca)
        assert read.organizations == (role,)
        assert lifetimes.outlived(read.since, read.until, datetime.now(UTC)) == ""
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    document = yaml.safe_load(dev.paths.talosconfig.read_bytes())
    [context] = document["contexts"].values()
    assert context["endpoints"] == ["10.9.0.11"]
    assert "nodes" not in context


@pytest.mark.parametrize("what", [None, *SPOILED])
def test_whatever_happened_to_it_a_good_one_is_there_after_it(
    dev: Environment, bundle: bytes, monkeypatch: pytest.MonkeyPatch, what: str | None
) -> None:
    if what:
        credentials.ensure(dev, revision="1")
        before = dev.paths.client_certificate.read_bytes()
        this_run.begin()
        assert credentials.revision(dev) == "1"
        SPOILED[what](dev.paths.root, bundle)
    this_run.begin()
    due = credentials.revision(dev)
    # What is lost of a job's output runs it anyway.
    assert (due != "1") == (what != "only the upper lost")
    credentials.ensure(dev, revision=due)
    _good(dev, bundle)
    this_run.begin()
    assert credentials.revision(dev) == due
    assert client_certificates.problem(dev) == ""
    if what:
        assert (dev.paths.client_certificate.read_bytes() == before) == (what in KEPT)


@pytest.mark.parametrize("what", ["half over", "both lost", "upper empty", "marker lost"])
def test_the_same_once_more_is_seen_once_more(
    dev: Environment, bundle: bytes, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The job's parameter is another one each time, or Snakemake would see no change."""
    credentials.ensure(dev, revision="1")
    seen = {"1"}
    for times in (2, 3):
        SPOILED[what](dev.paths.root, bundle)
        this_run.begin()
        due = credentials.revision(dev)
        credentials.ensure(dev, revision=due)
        seen.add(due)
        assert len(seen) == times


def test_bundle_that_was_only_encrypted_anew_makes_no_new_certificate(dev: Environment) -> None:
    credentials.ensure(dev)
    before = dev.paths.client_certificate.read_bytes()
    dev.bundle.write_text("for one recipient more\n")
    assert "another state of the secrets bundle" in client_certificates.reason(dev)
    credentials.ensure(dev)
    assert client_certificates.reason(dev) == ""
    assert dev.paths.client_certificate.read_bytes() == before


def test_another_bundle_makes_one(
    dev: Environment, bundle: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials.ensure(dev)
    other = talos_generate.gen_secrets(CONTRACT)
    monkeypatch.setattr(bundles, "bundle_of", lambda _: other)
    dev.bundle.write_text("another one\n")
    credentials.ensure(dev)
    _good(dev, other)


@pytest.mark.parametrize("hours", [1, 24, 87600])
def test_it_lives_as_long_as_git_says(dev: Environment, hours: int) -> None:
    credentials.ensure(dev)
    changed = replace(dev, options=replace(dev.options, cert_hours=hours))
    assert "CERT_TTL" in client_certificates.reason(changed)
    credentials.ensure(changed)
    read = certificates.of_talosconfig(dev.paths.talosconfig.read_bytes())
    assert read.until - read.since == timedelta(hours=hours)


def test_half_over_and_no_key_it_is_used_on_with_a_warning(
    dev: Environment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    credentials.ensure(dev, revision="1")
    before = dev.paths.talosconfig.read_bytes()
    _without_key(monkeypatch)
    SPOILED["half over"](dev.paths.root, b"")
    credentials.ensure(dev, revision="2")
    assert "state/talosconfig: it is past half of its life" in caplog.text
    assert "there is no age key" in caplog.text
    assert dev.paths.talosconfig.read_bytes() == before
    # The next run tries again.
    this_run.begin()
    assert credentials.revision(dev) not in ("1", "2")


@pytest.mark.parametrize("what", ["expired", "lower empty", "of an older bundle"])
def test_dead_and_no_key_it_is_an_error_and_nothing_is_lost(
    dev: Environment, bundle: bytes, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    credentials.ensure(dev)
    SPOILED[what](dev.paths.root, bundle)
    before = dev.paths.talosconfig.read_bytes()
    _without_key(monkeypatch)
    with pytest.raises(SecretsError, match="there is no age key"):
        credentials.ensure(dev)
    assert dev.paths.talosconfig.read_bytes() == before


def _without_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Environment) -> bytes:
        raise SecretsError("there is no age key to decrypt it with")

    monkeypatch.setattr(bundles, "bundle_of", refused)


@pytest.mark.parametrize(
    ("access", "role", "hours"), [(Access.READER, "os:reader", 8760), (Access.DAY, "os:admin", 24)]
)
def test_who_looks_has_a_certificate_for_that(
    dev: Environment, access: Access, role: str, hours: int
) -> None:
    asked = credentials.looking(dev, access)
    path = dev.paths.state / f"talosconfig-{access}"
    api = observe.secure_api(asked, dev.control_planes[0])
    assert api.talosconfig == path
    assert observe.secure_api(dev, dev.control_planes[0]).talosconfig == dev.paths.talosconfig
    read = certificates.of_talosconfig(path.read_bytes())
    assert read.organizations == (role,)
    assert read.until - read.since == timedelta(hours=hours)
    assert not dev.paths.talosconfig.exists()  # nor a year's access for somebody who looks
    before = path.read_bytes()
    credentials.looking(dev, access)
    assert path.read_bytes() == before
    age(path.with_name(f"{path.name}.made"), -1, 0.5)
    credentials.looking(dev, access)
    assert path.read_bytes() != before


def test_who_looks_without_the_key_takes_the_talosconfig_that_is_there(
    dev: Environment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    credentials.ensure(dev)
    _without_key(monkeypatch)
    assert credentials.looking(dev, Access.READER).access is Access.ADMIN
    assert "no certificate for os:reader can be made" in caplog.text
    dev.paths.talosconfig.unlink()
    with pytest.raises(SecretsError):
        credentials.looking(dev, Access.READER)


def test_of_several_at_once_one_makes_it(dev: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    generate = talos_generate.gen_talosconfig

    def counted(*arguments: object) -> bytes:
        made.append(arguments)
        return generate(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(talos_generate, "gen_talosconfig", counted)
    threads = [threading.Thread(target=credentials.ensure, args=(dev,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert client_certificates.problem(dev) == ""


def test_marker_holds_nothing_secret(dev: Environment, bundle: bytes) -> None:
    credentials.ensure(dev)
    text = client_certificates.marker_file(dev, Access.ADMIN).read_text()
    document = yaml.safe_load(dev.paths.client_certificate.read_bytes())
    [context] = document["contexts"].values()
    for secret in (context["key"], context["crt"], *bundles.secret_values(bundle)):
        assert secret not in text
    assert json.loads(text)["role"] == "os:admin"


def test_what_a_node_does_not_take_has_a_remedy_that_helps(dev: Environment, bundle: bytes) -> None:
    """The message for a certificate that is not good says what the run then does."""
    error = talosctl.CallError(talosctl.Failure.CERTIFICATE_EXPIRED, "tls: expired certificate")
    credentials.ensure(dev)
    hint = observe.judged(dev, dev.control_planes[0], error).hint
    assert "this clock or the node's is wrong" in hint  # the certificate is good
    SPOILED["expired"](dev.paths.root, bundle)
    hint = observe.judged(dev, dev.control_planes[0], error).hint
    assert hint.startswith("rendered_configs/dev/talosconfig: it expired on ")
    assert hint.endswith("Remove it, and run the same command again: it makes a new one.")
    dev.paths.talosconfig.unlink()
    credentials.ensure(dev)
    _good(dev, bundle)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda d: {}, "it has no crt"),
        (lambda d: None, "it is empty"),
        (lambda d: d | {"context": "other"}, "it has no crt"),
        (lambda d: _with(d, crt="x"), "its client certificate cannot be read"),
        (lambda d: _with(d, ca=""), "it has no ca"),
        (lambda d: _with(d, key=d["contexts"]["talos-test"]["crt"]), "its key cannot be read"),
        (lambda d: _with(d, ca=_other("ca")), "not signed by the CA in it"),
        (lambda d: _with(d, key=_other("key")), "its key is another certificate's"),
    ],
)
def test_talosconfig_that_cannot_be_used(bundle: bytes, change: object, problem: str) -> None:
    made = yaml.safe_load(talos_generate.gen_talosconfig("talos-test", bundle, "os:admin", 1))
    with pytest.raises(ValueError, match=problem) as error:
        certificates.of_talosconfig(yaml.safe_dump(change(made)).encode())  # type: ignore[operator]
    assert made["contexts"]["talos-test"]["key"] not in str(error.value)


def _with(document: dict[str, dict[str, dict[str, str]]], **values: str) -> object:
    context = {**document["contexts"]["talos-test"], **values}
    return {**document, "contexts": {"talos-test": context}}


def _other(key: str) -> str:
    made = talos_generate.gen_talosconfig("x", talos_generate.gen_secrets(CONTRACT), "os:admin", 1)
    return str(yaml.safe_load(made)["contexts"]["x"][key])


def test_nothing_of_the_ca_is_a_file_on_a_disk(
    bundle: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What talosctl reads and writes are links to memory, and they are gone after it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen: list[tuple[str, bool]] = []
    run = talosctl.run_talosctl

    def watched(*arguments: str, **options: object) -> object:
        found = [path for path in tmp_path.rglob("*") if not path.is_dir()]
        seen.extend((path.name, path.is_symlink()) for path in found)
        result = run(*arguments, **options)  # type: ignore[arg-type]
        found = [path for path in tmp_path.rglob("*") if not path.is_dir()]
        seen.extend((path.name, path.is_symlink()) for path in found)
        assert not [part for part in arguments if "PRIVATE" in part]
        return result

    monkeypatch.setattr(talos_generate, "run_talosctl", watched)
    talos_generate.gen_talosconfig("c", bundle, "os:admin", 1)
    assert {name for name, _ in seen} == {"ca.crt", "ca.key", "new.key", "new.csr", "new.crt"}
    assert all(link for _, link in seen)
    assert list(tmp_path.iterdir()) == []
