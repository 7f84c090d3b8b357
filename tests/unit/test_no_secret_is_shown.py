"""No command shows a value of the bundle or of an encrypted patch, in whatever form it stands.

A plain patch may repeat such a value, in another text or in base64: it is in Git then, and yet no
message, artifact, comparison or explanation is to spread it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from talosmake.artifact import diff as artifact_diff
from talosmake.artifact import pack, unpack
from talosmake.base import git, marker
from talosmake.base.errors import ArtifactError, SecretsError, TalosmakeError
from talosmake.base.redact import scalars
from talosmake.checks import lint, validate
from talosmake.checks.finding import report
from talosmake.inventory import environments
from talosmake.inventory.model import Environment, Node
from talosmake.patches.patch import parse
from talosmake.render import apply_script, disclosure, machine_config
from talosmake.render.layers import NodeLayers
from talosmake.report import diff, explain, promote, provenance
from talosmake.secrets import age, bundles
from talosmake.talos import generate
from tests.project import CLUSTER_ENV, Project, encrypted

KEY = age.new_key()
BUNDLE = generate.gen_secrets("v1.13")
PARSED = yaml.safe_load(BUNDLE)
PASSWORD = 'correct "horse" battery\\staple'
LINES = "first secret line\nsecond: secret line\n  third-secret"
ENCODED = base64.b64encode(b"value that is kept in base64\nof two lines").decode()
TOKEN = PARSED["secrets"]["bootstraptoken"]
OS_KEY = PARSED["certs"]["os"]["key"]
SECRETS = [PASSWORD, LINES, ENCODED, TOKEN, OS_KEY, PARSED["cluster"]["secret"]]
WORKER = "patches/envs/{}/workers/worker_1"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def parts(secret: str) -> set[str]:
    """What must not be shown of a secret: its lines, and those of what it encodes."""
    try:
        inner = base64.b64decode(secret, validate=True).decode().splitlines()
    except ValueError:
        inner = []
    lines = [*secret.splitlines(), *(one for one in inner if not one.startswith("-----"))]
    return {line.strip() for line in lines if len(line.strip()) >= 6}


# How another text may hold a secret.
HOLDS: dict[str, Callable[[str], str]] = {
    "itself": lambda secret: secret,
    "a longer text": lambda secret: f"--flag={secret}!",
    "base64": encoded,
    "base64 of a longer text": lambda secret: encoded(f"user:{secret}@host"),
    "base64 one byte further": lambda secret: encoded(f"users:{secret}@host"),
    "base64 two bytes further": lambda secret: encoded(f"users2:{secret}"),
    "base64 for addresses": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
    "JSON": lambda secret: json.dumps({"x": secret}),
    "what it encodes": lambda secret: "\n".join(["text", *sorted(parts(secret))]),
}


def leaked(text: str, secret: str, holder: str) -> list[str]:
    """What of a secret a text shows, in the form in which something holds it."""
    held = holder.strip()
    forms = {*parts(secret), json.dumps(secret)[1:-1]}
    # Not its first bytes alone, which are those of what stands before it.
    if "\n" not in held and held != secret:
        forms.add(held)
    return [form for form in forms if len(form) >= 6 and form in text]


# --- the policy -----------------------------------------------------------------------------------

CHARACTERS = st.characters(codec="utf-8", exclude_categories=("C", "Z"))
WORDS = st.text(CHARACTERS, min_size=8, max_size=30).filter(lambda text: len(text.strip()) >= 8)
TEXTS = st.lists(WORDS, min_size=1, max_size=3).map("\n".join)


@given(TEXTS, st.sampled_from(sorted(HOLDS)))
def test_policy_hides_a_secret_wherever_it_stands(secret: str, how: str) -> None:
    holder = HOLDS[how](secret)
    secrets = disclosure.secrets_in([secret], [])
    config = {("", ""): {"machine": {"env": {"x": holder, "y": "plain words"}}}}
    shown = [
        disclosure.text(disclosure.redacted(config, secrets.hides)),
        secrets.without(f"error: {holder}: is bad"),
        *disclosure.clear_lines(config, secrets.hides),
        *diff.compared(
            {("", ""): {"machine": {"env": {"x": "old"}}}},
            disclosure.hides_unknown(secrets, ()),
            config,
            secrets.hides,
        ),
        *explain.lines(
            explain.Explanation(
                [explain.Source(explain.BASE)],
                {document: provenance.traced([one]) for document, one in config.items()},
                secrets,
            )
        ),
    ]
    assert "plain words" in shown[0]
    assert not leaked("\n".join(shown), secret, holder)


@given(TEXTS)
def test_policy_knows_what_an_encrypted_patch_sets(secret: str) -> None:
    """By its place as well, however short it is and whatever it looks like."""
    text = yaml.safe_dump({"machine": {"sysctls": {"x": secret}, "env": {"y": "443"}}})
    patch = parse(text, Path("x.sops.yaml"), secret=True)
    secrets = disclosure.secrets_in([secret], [patch])
    shown = disclosure.text(disclosure.redacted(disclosure.parsed(text), secrets.hides))
    assert not leaked(shown, secret, secret)
    assert "443" not in shown


# --- the commands ---------------------------------------------------------------------------------


@pytest.fixture
def dev(small: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """dev and prod; a worker's encrypted patch sets the secrets."""
    monkeypatch.setattr(bundles, "bundle_of", lambda _: BUNDLE)
    Path(small.env["SOPS_AGE_KEY_FILE"]).write_bytes(KEY.identity)
    small.environment("prod", cluster_env=CLUSTER_ENV.replace("10.9.0.10", "10.8.0.10"))
    small.node("prod", "control_planes", "cp_1", "10.8.0.11")
    small.node("prod", "workers", "worker_1", "10.8.0.21")
    text = yaml.safe_dump(
        {
            "machine": {
                "sysctls": {"a.b": PASSWORD, "a.c": ENCODED},
                "files": [{"path": "/var/x", "op": "create", "content": LINES}],
            }
        }
    )
    path = f"{WORKER.format('dev')}/secret.sops.yaml"
    small.write(path, encrypted(text, KEY.recipient, path))
    return small


def repeat(dev: Project, how: str) -> list[tuple[str, str]]:
    """Have plain patches of the worker repeat each secret; pairs of secret and what holds it."""
    held = [(secret, HOLDS[how](secret)) for secret in SECRETS]
    holders = [holder for _, holder in held]
    for number in (1, 2):  # the second overrides, and adds a list's items again
        turned = {f"plain.{i}": holders[i - number] for i in range(len(holders))}
        values = {"env": {**turned, "SHOWN": f"shown-{number}"}, "certSANs": holders}
        text = yaml.safe_dump({"machine": {**values, "sysctls": turned}})
        dev.write(f"{WORKER.format('dev')}/plain_{number}.yaml", text)
    return held


def ready(env: str) -> tuple[Environment, Node, bytes]:
    environment = environments.load(env)
    for node in environment.nodes:
        machine_config.write_config(environment, node)
        validate.validate_config(environment, node)
    worker = environment.workers[0]
    return environment, worker, environment.paths.config(worker).read_bytes()


def everything_shown(dev: Project) -> Iterator[tuple[str, str]]:
    """What each command shows of the worker, by the command."""
    environment, worker, config = ready("dev")
    own = NodeLayers(environment, worker)
    yield "artifact", disclosure.shown_text(own, config)
    explanation = explain.explain(environment, worker)
    yield "explain", "\n".join([explain.annotated(explanation), *explain.lines(explanation)])
    yield "lint", report(environment, lint.findings(environment))
    yield "lint, kept", environment.paths.linted_node(worker).read_text()
    yield "promote", promote.report(environment, ready("prod")[0])
    yield "answer", disclosure.answer_about(own, config, config.decode())
    yield "message", disclosure.message(own, config.decode())
    running = config.replace(b"shown-2", b"shown-0")
    yield "diff", "\n".join(diff._redacted_diff(own, running, config))
    disclosure.write_applied(own, running)
    yield "applied", environment.paths.applied_config(worker).read_text()
    sha256 = hashlib.sha256(running).hexdigest()
    marker.write(environment.paths.applied(worker), step="applied", sha256=sha256)
    yield "diff against=applied", "\n".join(diff.to_applied(environment, worker).lines)
    new = {"configs/worker-worker_1.yaml": disclosure.shown_text(own, config).encode()}
    old = {"configs/worker-worker_1.yaml": disclosure.shown_text(own, running).encode()}
    yield "artifact diff", "\n".join(artifact_diff.markdown({"dev": old}, {"dev": new}))


@pytest.mark.parametrize("how", HOLDS)
def test_no_command_shows_a_secret(dev: Project, how: str) -> None:
    held = repeat(dev, how)
    found = {
        (command, form)
        for command, text in everything_shown(dev)
        for secret, holder in held
        for form in leaked(text, secret, holder)
    }
    assert not found


@pytest.mark.parametrize("secret", [TOKEN, OS_KEY], ids=["token", "key"])
def test_no_part_of_a_secret_is_left_where_a_finding_cuts(dev: Project, secret: str) -> None:
    """Also in an item of a list that is put on one line."""
    for number in (1, 2):
        values = {
            "env": {"LONG": f"{number}: {'x' * 30} {secret} {'y' * 30}"},
            "certSANs": [f"{'x' * 30}.{secret}.{'y' * 30}"],
            "kernel": {"modules": [{"name": "dummy", "parameters": [f"a={secret}"]}]},
        }
        text = yaml.safe_dump({"machine": values})
        dev.write(f"{WORKER.format('dev')}/plain_{number}.yaml", text)
    environment, _, _ = ready("dev")
    found = report(environment, lint.findings(environment))
    assert "machine.env.LONG: <redacted> takes the place of <redacted>" in found
    assert "machine.certSANs: <redacted> is added by" in found
    assert 'modules: {"name": "dummy", "parameters": ["<redacted>"]} is added by' in found
    assert secret[:8] not in found


def test_what_is_no_secret_is_shown(dev: Project) -> None:
    repeat(dev, "itself")
    assert not [command for command, text in everything_shown(dev) if "shown-" not in text]


COMMON = [
    "cluster",
    "machine",
    "common",
    "workers",
    "patches",
    "default",
    "kubernetes",
    "enp5s0f1",
    "apiVersion: v1",
    "kind: Secret",
]
MANIFEST = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: my-name\nstringData:\n  x: hunter2\n"


def test_common_words_of_an_encrypted_patch_are_hidden_only_there(dev: Project) -> None:
    """Else one such value hides all images, or each manifest's first lines."""
    values = {f"x.{number}": value for number, value in enumerate(COMMON)}
    text = yaml.safe_dump({"machine": {"sysctls": values, "sysfs": {"manifest": MANIFEST}}})
    path = f"{WORKER.format('dev')}/secret.sops.yaml"
    dev.write(path, encrypted(text, KEY.recipient, path))
    plain = {f"COMMON_{number}": f"a {value}!" for number, value in enumerate(COMMON)}
    other = MANIFEST.replace("hunter2", "other").replace("Secret", "ConfigMap")
    again = {"SECRET": "a my-name!", "MANIFEST": other}
    text = yaml.safe_dump({"machine": {"env": {**plain, **again}}})
    dev.write(f"{WORKER.format('dev')}/plain.yaml", text)
    environment, worker, config = ready("dev")
    shown = disclosure.shown_text(NodeLayers(environment, worker), config)
    machine = disclosure.parsed(shown)["", ""]["machine"]
    assert set(machine["sysctls"].values()) == {"<redacted>"}
    assert set(machine["sysfs"]["manifest"].split("\n")) <= {"<redacted>", "  <redacted>", ""}
    assert {key: machine["env"][key] for key in plain} == plain
    assert machine["env"]["SECRET"] == "<redacted>"
    assert machine["env"]["MANIFEST"] == other.replace("name: my-name", "<redacted>")
    assert machine["kubelet"]["image"].startswith("ghcr.io/siderolabs/kubelet:")
    said = f"machine.x: set it in {environment.env_file} or {WORKER.format('dev')}/common.yaml"
    assert disclosure.secrets_of(NodeLayers(environment, worker)).without(said) == said


@pytest.mark.parametrize("how", ["itself", "a longer text", "base64", "JSON"])
def test_no_refusal_shows_a_secret(dev: Project, how: str) -> None:
    """talosctl quotes what it refuses: keys that it does not know, values that do not fit."""
    held = repeat(dev, how)
    for secret, holder in held:
        for bad in ({"install": {"wipe": holder}}, {"unknownKey": {"x": holder}}):
            dev.write(f"{WORKER.format('dev')}/zz.yaml", yaml.safe_dump({"machine": bad}))
            environment = environments.load("dev")
            with pytest.raises(TalosmakeError) as error:
                machine_config.render(environment, environment.workers[0])
            assert "zz.yaml" in str(error.value)
            assert not leaked(str(error.value), secret, holder)


def test_what_is_found_is_not_shown_where_nobody_knows_what_is_secret(
    dev: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeat(dev, "itself")
    environment, worker, _ = ready("dev")
    environment.paths.linted_node(worker).unlink()

    def no_key(_: Environment) -> bytes:
        raise SecretsError("no key", hint="Get one.")

    monkeypatch.setattr(bundles, "bundle_of", no_key)
    found = [one for one in lint.of_node(environment, worker) if "plain_2.yaml:" in one["where"]]
    assert {(one["what"], one["do"]) for one in found} == {
        ("what is found is not shown, as it may hold secrets: no key", "Get one.")
    }
    assert not environment.paths.linted_node(worker).exists()
    monkeypatch.setattr(bundles, "bundle_of", lambda _: BUNDLE)
    assert "takes the place of" in str(lint.of_node(environment, worker))


@pytest.mark.parametrize("how", HOLDS)
@pytest.mark.parametrize("secret", [TOKEN, OS_KEY], ids=["token", "key"])
def test_no_artifact_is_made_with_a_secret(dev: Project, how: str, secret: str) -> None:
    """The last look, should all else fail."""
    environment = environments.load("dev")
    values = disclosure.bundle_forms(bundles.bundle_of(environment))
    member = {"lint.txt": f"x: {HOLDS[how](secret)}\n".encode()}
    with pytest.raises(ArtifactError, match=r"lint\.txt: holds a value of the secrets bundle"):
        pack.refuse_leaks(member, values)
    pack.refuse_leaks({"lint.txt": b"x: nothing\n"}, values)


def test_an_artifact_is_made_of_one_look(dev: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lint finds is the same in the text and in the manifest, and without a secret."""
    repeat(dev, "itself")
    environment, _, _ = ready("dev")
    apply_script.write_apply_script(environment)
    looked = Mock(wraps=lint.findings)
    monkeypatch.setattr(lint, "findings", looked)
    monkeypatch.setattr(git, "commit", lambda: git.Commit("a" * 40, 0, "v1", False))
    pack.make(environment)
    looked.assert_called_once()
    made = unpack.read(environment.paths.root / "talos-dev-v1.tar.gz")
    assert made.findings == len(lint.findings(environment)) > 3
    assert not [part for secret in SECRETS for part in parts(secret) if part in str(made.nodes)]


def test_certificates_and_the_id_are_no_reason_to_make_no_artifact() -> None:
    """Nor is what a bundle has of a pair that was left empty by hand."""
    bundle = yaml.safe_dump({**PARSED, "certs": {**PARSED["certs"], "own": None}}).encode()
    values = disclosure.bundle_forms(bundle)
    assert set(values) == set(disclosure.bundle_forms(BUNDLE))
    public = [PARSED["certs"]["os"]["crt"], PARSED["certs"]["k8s"]["crt"], PARSED["cluster"]["id"]]
    pack.refuse_leaks({"lint.txt": "\n".join(public).encode()}, values)
    for value in (TOKEN, OS_KEY, PARSED["certs"]["k8sserviceaccount"]["key"]):
        assert value in values


def test_values_of_the_bundle_are_all_looked_at(dev: Project) -> None:
    values = set(bundles.secret_values(BUNDLE))
    assert {str(one) for one in scalars(PARSED)} <= values | {""}
    own = NodeLayers(environments.load("dev"), environments.load("dev").workers[0])
    text = disclosure.message(own, BUNDLE.decode())
    assert not [one for one in values if len(one) >= 6 and one in text]
