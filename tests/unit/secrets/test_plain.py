"""Secrets in plain text, each with its line; and what is none."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest
import yaml

from talosmake.base.secret_keys import is_secret_at, secret_key
from talosmake.render.disclosure import Secrets, parsed, redacted, text
from talosmake.secrets import plain
from talosmake.talos import generate

WG = "2Iq1SWzW1tMdXnKxr4iRhrKrXpVg" + "+4tqFzkpvj9S8Gs="
PEM = "-----BEGIN ED25519 " + "PRIVATE KEY-----\nMC4CAQ\n-----END ED25519 PRIVATE KEY-----\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


def found(text: str, name: str = "a.yaml") -> list[str]:
    return [f"{one.line}: {one.what}" for one in plain.findings(text.encode(), name)]


# Each with the lines that hold a secret, of a text of Talos's or Kubernetes's.
HELD = {
    "WireguardConfig": (
        [3, 6],
        f"""\
apiVersion: v1alpha1
kind: WireguardConfig
privateKey: {WG}
peers:
  - publicKey: {WG}
    presharedKey: {WG}
""",
    ),
    "wireguard in v1alpha1": (
        [6, 8],
        f"""\
machine:
  network:
    interfaces:
      - interface: wg0
        wireguard:
          privateKey: {WG}
          peers:
            - {{publicKey: {WG}, "presharedKey": "{WG}"}}
""",
    ),
    "the cluster's own": (
        [2, 4, 5, 6, 7],
        """\
machine:
  token: something-unusual
cluster:
  secret: gT9ab
  token: hunter2
  aescbcEncryptionSecret: aaa
  secretboxEncryptionSecret: bbbb
""",
    ),
    "keys of a CA": (
        [4, 7],
        f"""\
machine:
  ca:
    crt: {encoded(CERTIFICATE)}
    key: {encoded(PEM)}
cluster:
  serviceAccount:
    key: {encoded(PEM)}
""",
    ),
    "static passphrases": (
        [6, 14, 15],
        """\
machine:
  systemDiskEncryption:
    state:
      keys:
        - static:
            passphrase: hunter2 hunter2
          slot: 0
---
apiVersion: v1alpha1
kind: VolumeConfig
encryption:
  keys:
    - static:
        passphrase: hunter2
    - static: {passphrase: hunter2}
""",
    ),
    "registries": (
        [8, 9, 10, 14, 15],
        """\
machine:
  registries:
    config:
      registry.example.org:
        auth:
          username: puller
          # Not the passwords of people.
          password: hunter2
          auth: cHVsbGVyOmh1bnRlcjI=
          identityToken: hunter2
---
kind: RegistryAuthConfig
name: registry.example.org
password: '1234'
auth: cHVsbGVyOmh1bnRlcjI=
""",
    ),
    "an extension's environment": (
        [5, 7],
        """\
kind: ExtensionServiceConfig
name: tailscale
environment:
  - TS_HOSTNAME=node
  - TS_AUTHKEY=hunter2
configFiles:
  - content: "password = hunter2\\nport = 5"
    mountPath: /etc/x.conf
""",
    ),
    "variables and addresses": (
        [3, 4, 7, 8],
        """\
machine:
  env:
    GITHUB_TOKEN: hunter2
    https_proxy: http://me:hunter2@proxy.example.org:3128
  install:
    extraKernelArgs:
      - talos.config=https://me:hunter2@config.example.org/
      - siderolink.api=grpc://10.0.0.1:8081?JOIN=hunter2
""".replace("JOIN", "jointoken"),
    ),
    "SideroLink": (
        [2],
        "kind: SideroLinkConfig\napiUrl: https://example.org?join" + "token=w7uVu\n",
    ),
    "a Secret": (
        [6, 7],
        f"""\
apiVersion: v1
kind: Secret
metadata: {{name: a}}
data:
  ca.crt: {encoded(CERTIFICATE)}
  username: bWU=
  tls.key: {encoded(PEM)}
""",
    ),
    "a Secret in a list": (
        [4],
        "kind: List\nitems:\n  - kind: Secret\n    stringData: {a: b, c: ''}\n",
    ),
    "Secrets in an inline manifest": (
        [9, 17],
        """\
cluster:
  inlineManifests:
    - name: a
      contents: |-

        apiVersion: v1
        kind: Secret
        stringData:
          username: me
        ---
        kind: Deployment
        spec:
          containers:
            - env:
                - name: HOME
                  value: /
                - {name: API_TOKEN, value: hunter2}
""",
    ),
    "a file on the node": (
        [4],
        "machine:\n  files:\n    - content: |\n        password: hunter2\n      path: /var/x\n",
    ),
    "an EncryptionConfiguration": (
        [6],
        """\
kind: EncryptionConfiguration
resources:
  - providers:
      - secretbox:
          keys:
            - {name: key1, secret: aGVsbG8=}
""",
    ),
    "a kubeconfig": (
        [3, 4],
        f"users:\n  - user:\n      client-key-data: {encoded(PEM)}\n      token: hunter2\n",
    ),
    "a kubeconfig in a Secret": (
        [3],
        f"kind: Secret\ndata:\n  k: {encoded('client-key-data: ' + encoded(PEM))}\n",
    ),
    "a value from an anchor": ([1], "a: &a hunter2\nb:\n  password: *a\n"),
    "a default in a placeholder": ([1], "password: ${PASSWORD:-hunter2}\n"),
    "text beside a placeholder": ([1], "password: hunter${NUMBER}\n"),
    "a text over several lines": ([2], "a:\n  passphrase: >-\n    hunter2\n    hunter2\n"),
    "what does not parse": ([3, 4], "a: [\n# x\npassword: hunter2 # y\n- token: 'hunter2',\n"),
    "tabs": ([2], '{\n\t"password": "hunter2"\n}\n'),
}


# No document of a machine config, nor a part of one.
NO_CONFIG = ("a Secret", "a Secret in a list", "a kubeconfig in a Secret", "what does not parse")


@pytest.mark.parametrize("case", HELD)
def test_what_is_found(case: str) -> None:
    lines, content = HELD[case]
    assert [int(one.partition(":")[0]) for one in found(content)] == lines, found(content)
    assert not [one for one in found(content) if "hunter2" in one or WG in one]


@pytest.mark.parametrize(
    "case", [case for case in HELD if case not in NO_CONFIG and "placeholder" not in case]
)
def test_what_is_found_is_hidden(case: str) -> None:
    """One list: in a config none of it is shown, although Git has it in plain text."""
    lines, content = HELD[case]
    config = parsed(content.expandtabs())
    shown = text(redacted(config, Secrets(frozenset(), frozenset()).hides))
    for secret in ("hunter2", WG, encoded(PEM), "something-unusual", "gT9ab", "bWU=", "w7uVu"):
        kept = [line for line in shown.splitlines() if secret in line and "publicKey" not in line]
        assert not [line for line in kept if line.strip() != "a: hunter2"], shown
    assert "<redacted>" in shown
    assert lines


@pytest.mark.parametrize(
    "content",
    [
        "privateKey: ${WG_KEY}\n",
        "privateKey: $${WG_KEY}\n",
        "privateKey: ENC[AES256_GCM,data:x,type:str]\n",
        "privateKey: ''\npresharedKey:\npassword: null\ntoken: ~\n",
        f"publicKey: {WG}\n",
        f"ca:\n  crt: {encoded(CERTIFICATE)}\n  key: ''\n",
        "token: ${{ secrets.TOKEN }}\npassword: {{ randAlphaNum 20 }}\n",
        "permissions:\n  id-token: write\n",
        "auth: true\ntoken: <cluster.token>\n",
        "password:\n  secretKeyRef: {name: a, key: password}\nsecretName: a\n",
        "kind: Secret\ntype: kubernetes.io/service-account-token\ndata: {a: ''}\n",
        f"kind: Secret\ndata:\n  ca.crt: {encoded(CERTIFICATE)}\n",
        "kind: SealedSecret\nspec:\n  encryptedData: {password: AgBy3i4OJSWK}\n",
        "https_proxy: http://proxy.example.org:3128\n",
        "image: https://${USER}:${PASSWORD}@registry.example.org\n",
        "environment:\n  - TS_AUTHKEY=${TS_AUTHKEY}\n  - TS_AUTHKEY_FILE=/x\n",
        "password: hunter2  # pragma: allowlist secret\n",
        "a: &a [*a]\nkey: {? [1] : 2}\n",
        "description: |\n  password: the password\n",
        "",
    ],
)
def test_what_is_no_secret(content: str) -> None:
    assert found(content) == []


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("node.env", f"NODE_IP=10.0.0.1\nexport WG_PRIVATE_KEY='{WG}'\n", [2]),
        ("node.env", "REGISTRY_PASSWORD=hunter2 # old\nREGISTRY_PASSWORD_FILE=/x\n", [1]),
        (".env.local", "TS_AUTHKEY=hunter2\n", [1]),
        ("wg0.conf", f"[Interface]\nPrivateKey = {WG}\n[Peer]\nPublicKey = {WG}\n", [2]),
        ("notes.md", f"The key: private_key={WG}\n", [1]),
        ("notes.md", "    password: hunter2\n", []),
        ("wg.yaml.bak", "password: hunter2\n", [1]),
        ("terraform.tfvars", 'api_token = "hunter2"\n', [1]),
        ("a.py", 'password = "hunter2"\n', []),
        ("talosconfig", f"contexts:\n  a:\n    key: {encoded(PEM)}\n", [3]),
        ("a.txt", "tskey-" + "auth-kBo3Cd9CNTRL-xyz\n", [1]),
        ("a.txt", "ghp_" + "a" * 36 + "\n", [1]),
    ],
)
def test_by_the_name_of_the_file(name: str, content: str, lines: list[int]) -> None:
    assert [int(one.partition(":")[0]) for one in found(content, name)] == lines


def test_text_as_powershell_writes_it() -> None:
    content = "a: b\npassword: hunter2\n".encode("utf-16")
    assert [one.line for one in plain.findings(content, "a.yaml")] == [2]
    assert plain.findings(b"\xff\xfepassword: \xd8", "a.yaml") == []


def test_all_that_a_bundle_holds_is_found(tmp_path: Path) -> None:
    """Whatever talosctl makes: each line with a secret is found, and none that is public."""
    bundle = generate.gen_secrets("v1.13").decode()
    held = {one.line for one in plain.findings(bundle.encode(), "a.yaml")}
    public = ("id: ", "crt: ")
    values = [
        number
        for number, line in enumerate(bundle.splitlines(), start=1)
        if not line.rstrip().endswith(":") and not line.strip().startswith(public)
    ]
    assert held == set(values)
    assert len(held) == 9


def test_keys_are_hidden_where_they_are_secret() -> None:
    for keys in yaml.safe_load("[[a, psk], [env, DB_PWD_TOKEN], [cluster, secret], [x, pwd]]"):
        assert is_secret_at(keys)
        assert secret_key(keys)
    assert not is_secret_at(("cluster", "id"))
    assert not is_secret_at(("a", 0))
    assert not is_secret_at(())
