"""What is said of a config that does not pass, or passes with a warning: nothing secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from talosmake.base.errors import PatchError, TalosmakeError, ValidationError
from talosmake.checks import validate
from talosmake.inventory import environments
from talosmake.inventory.model import Environment
from talosmake.render import machine_config
from talosmake.secrets import age, bundles
from talosmake.talos import generate
from tests.project import Project, encrypted

KEY = age.new_key()
BUNDLE = generate.gen_secrets("v1.13")
PATH = "patches/envs/dev/workers/worker_1/x.sops.yaml"
CLOUD = "cluster: {{externalCloudProvider: {{enabled: true, manifests: {}}}}}\n"


@pytest.fixture
def dev(small: Project, monkeypatch: pytest.MonkeyPatch) -> Environment:
    Path(small.env["SOPS_AGE_KEY_FILE"]).write_bytes(KEY.identity)
    monkeypatch.setattr(bundles, "bundle_of", lambda _: BUNDLE)
    return environments.load("dev")


def decrypting_to(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(bundles, "plaintext_of", lambda *_: text.encode())


def refused(environment: Environment) -> TalosmakeError:
    worker = environment.workers[0]
    machine_config.write_config(environment, worker)
    with pytest.raises(TalosmakeError) as error:
        validate.validate_config(environment, worker)
    return error.value


@pytest.mark.parametrize(
    "url", ["https://user:hunter2hunter2@${NODE_IP}:bad/", "https://user:hunter2/x@${NODE_IP}"]
)
def test_secret_with_a_fact_in_it(small: Project, dev: Environment, url: str) -> None:
    small.write(PATH, encrypted(CLOUD.format(f"['{url}']"), KEY.recipient, PATH))
    error = refused(environments.load("dev"))
    assert isinstance(error, ValidationError)
    assert 'invalid external cloud provider manifest url "<redacted>": parse' in error.message
    assert f"  {PATH}" in error.message
    assert "hunter2" not in str(error)


def test_patch_that_is_yaml_only_with_its_facts(
    small: Project, dev: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.write(PATH, "")
    text = "machine: {certSANs: [${NODE_IP}]}\n" + CLOUD.format("['https://hunter2hunter2:bad/']")
    decrypting_to(monkeypatch, text)
    error = refused(environments.load("dev"))
    assert 'manifest url "<redacted>": parse' in error.message
    assert "hunter2" not in str(error)


def test_what_cannot_be_looked_through_for_secrets_is_not_shown(
    small: Project, dev: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The patch is another one by now than the config was rendered from."""
    small.write(PATH, encrypted(CLOUD.format("['hunter2hunter2:']"), KEY.recipient, PATH))
    environment = environments.load("dev")
    machine_config.write_config(environment, environment.workers[0])
    decrypting_to(monkeypatch, "machine:\n  sysctls: [hunter2hunter2\n")
    with pytest.raises(PatchError) as error:
        validate.validate_config(environment, environment.workers[0])
    assert error.value.message.startswith(f"{PATH}:3:1: not YAML:")
    assert "hunter2" not in str(error.value)


def test_warning_about_a_secret_with_a_fact_in_it(
    small: Project, dev: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "machine: {env: {http_proxy: 'http://me:hunter2hunter2@${NODE_IP}'}}\n"
    small.write(PATH, encrypted(text, KEY.recipient, PATH))
    environment = environments.load("dev")
    worker = environment.workers[0]
    monkeypatch.setattr(
        generate, "validate", lambda *_: "* http://me:hunter2hunter2@10.9.0.21 is deprecated"
    )
    machine_config.write_config(environment, worker)
    validate.validate_config(environment, worker)
    said = environment.paths.validated(worker).read_text()
    assert '"warnings": "* <redacted> is deprecated"' in said
    assert "hunter2" not in said


@pytest.mark.parametrize("path", ["patches/common.yaml", PATH])
def test_kernel_arguments_that_no_boot_loader_reads(
    small: Project, dev: Environment, path: str
) -> None:
    # What says nothing is not named.
    small.write("patches/envs/dev/common.yaml", "machine: {install: {extraKernelArgs: []}}\n")
    text = "machine:\n  install:\n    extraKernelArgs: [console=ttyS0]\n"
    small.write(path, encrypted(text, KEY.recipient, path) if ".sops." in path else text)
    # What sets none is not named.
    none = f"{Path(PATH).parent}/none.yaml"
    small.write(none, "machine:\n  install:\n    extraKernelArgs: []\n")
    environment = environments.load("dev")
    machine_config.write_config(environment, environment.workers[0])
    with pytest.raises(ValidationError) as error:
        validate.validate_config(environment, environment.workers[0])
    where = path if ".sops." in path else f"{path}:3"
    assert error.value.message.startswith(
        f"{where}: machine.install.extraKernelArgs, for dev/worker_1: Talos takes the kernel's "
        "arguments from its image (a UKI:"
    )
    assert "customization.extraKernelArgs, and name it by TALOS_SCHEMATIC" in error.value.hint
    # What the message advises for GRUB.
    text += "    grubUseUKICmdline: false\n"
    small.write(path, encrypted(text, KEY.recipient, path) if ".sops." in path else text)
    environment = environments.load("dev")
    machine_config.write_config(environment, environment.workers[0])
    validate.validate_config(environment, environment.workers[0])
