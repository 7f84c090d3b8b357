"""The fields that Talos itself redacts are secret here, too, in every document that it knows."""

from __future__ import annotations

import json

import pytest

from talosmake.base.secret_keys import in_value, is_secret_at, secret_key, signs
from talosmake.render import disclosure
from tests import talos_configs

# What tools/versions/secrets prints for Talos 1.14.1: by kind, the way to each field.
TABLE = json.loads((talos_configs.DIRECTORY / "v1.14-secrets.json").read_text())
FIELDS = [(kind, field) for kind, fields in TABLE.items() for field in fields]
# Pairs of a certificate and its key, whose fields have no names of their own in Talos's code.
PAIRS = ("ca", "aggregatorCA", "serviceAccount", "clientIdentity")
KEY = "-----BEGIN EC PRIVATE " + "KEY-----\nMHcCAQEEIA==\n-----END EC PRIVATE " + "KEY-----\n"


def keys_of(field: str) -> tuple[str, ...]:
    keys = tuple(field.replace("config.secret", "config.aescbc.keys.*.secret").split("."))
    return (*keys, "key") if keys[-1] in PAIRS else keys


def test_table_has_the_documents_that_hold_secrets() -> None:
    assert {"", "DiscoveryIdentityConfig", "KubeEtcdEncryptionConfig"} <= TABLE.keys()
    assert TABLE["KubeServiceAccountConfig"] == ["issuer.privateKey"]


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_field_is_shown_nowhere(kind: str, field: str) -> None:
    if field == "apiUrl.?jointoken":
        assert in_value("https://host?join" + "token=abcdef")
        return
    keys = keys_of(field)
    assert secret_key(keys)
    config = {(kind, ""): nested(keys, "hunter22")}
    shown = disclosure.text(disclosure.redacted(config, disclosure.secrets_in([], []).hides))
    assert "hunter22" not in shown
    assert "<redacted>" in shown


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_field_is_committed_in_no_plain_patch(kind: str, field: str) -> None:
    if field == "apiUrl.?jointoken":
        return
    keys = keys_of(field)
    # Such a key is known by its form, whatever key of a config it stands at.
    assert is_secret_at((kind, *keys)) or (keys[-1] == "key" and list(signs(KEY)))


def nested(keys: tuple[str, ...], value: str) -> object:
    for key in reversed(keys):
        value = [value] if key == "*" else {key: value}  # type: ignore[assignment]
    return value
