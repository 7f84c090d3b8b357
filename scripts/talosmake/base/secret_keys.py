"""What is a secret: the one list, for the commit hook, artifact_check and what is shown (pure).

A secret is known by its own form, such as a private key's first line (:func:`signs`), or by the
keys that lead to it (:func:`is_secret_at`). The keys are those that Talos itself redacts
(``Redact`` in pkg/machinery/config/types, 1.13.0 and 1.14.1), and those of what people put into
patches beside it: manifests, settings of extensions, access to clusters.

What is shown is hidden by a wider rule, :func:`secret_key`: a value too much is no harm there.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Sequence

# Keys whose values no message shows, wherever they stand.
_HIDDEN_KEY = re.compile(r"secret|token|passw|passphrase|auth|key$|keys$|crt$", re.IGNORECASE)

# Keys of a secret by their last word, in lower case without - and _.
_NAME = re.compile(
    # Talos: WireguardConfig, disk encryption, RegistryAuthConfig, SideroLink, a VIP's API tokens.
    r"(private|preshared)key|passphrase|password|(identity|join|unique|api)token"
    # A cluster's own, in a machine config and in a bundle.
    r"|(bootstrap)?token|(secretbox|aescbc)encryptionsecret"
    # What else people have: kubeconfigs, cloud and VPN accounts.
    r"|clientkeydata|passwd|pwd|psk|(auth|api|secret|secretaccess)key"
    r"|(auth|access|refresh|bearer)token|(client|shared|cluster)secret"
)
# Words that are harmless elsewhere, by the keys right above them; a document's kind is the first.
_BELOW = {
    "secret": frozenset(("cluster",)),
    "auth": frozenset(("auth", "registryauthconfig")),
}
# Kubernetes's EncryptionConfiguration.
_CIPHERS = frozenset(("aescbc", "aesgcm", "secretbox"))
# Names of variables and facts: TS_AUTHKEY, WG_PRIVATE_KEY, REGISTRY_PASSWORD.
_VARIABLE = re.compile(
    r"([A-Z0-9]+_)*(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|PSK|AUTH_?KEY|PRIVATE_?KEY"
    r"|PRE_?SHARED_?KEY|API_?KEY|SECRET_?KEY|SECRET_?ACCESS_?KEY)"
)

# In pieces, so that this file does not find itself.
_SIGNS = {
    "an age secret key": re.compile(r"AGE-SECRET-" + r"KEY-(PQ-)?1[0-9A-Z]{20}"),
    "a private key": re.compile(r"-----BEGIN [A-Z0-9 ]*" + r"PRIVATE KEY( BLOCK)?-----"),
    "a Talos token": re.compile(
        r"(?:token|bootstraptoken): ['\"]?[a-z0-9]{6}" + r"\.[a-z0-9]{16}\b"
    ),
    "a WireGuard key": re.compile(
        r"(?i:private|preshared)_?(?i:key)['\"]?[ \t]*[:=][ \t]*['\"]?"
        r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="
    ),
    "a SideroLink join token": re.compile(r"[?&]join" + r"token=[\w.~%+/-]{4,}"),
    "a Tailscale key": re.compile(r"tskey-" + r"[a-z]+-[A-Za-z0-9]{6,}"),
    "a token of GitHub or GitLab": re.compile(
        r"\b(gh[pousr]_" + r"[A-Za-z0-9]{30,}|github_pat_" + r"\w{30,}|glpat-" + r"[\w-]{20,})"
    ),
}
# Where encoded text may hold one of them, and how its decoded text starts to be worth a look.
_BASE64 = re.compile(r"[A-Za-z0-9+/]{32,}={0,2}")
_IN_BASE64 = re.compile(r"PRIVATE KEY|AGE-SECRET-|tskey-|(?i:key-data|password|privatekey|token)")
_URL_PASSWORD = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/:@'\"]*:([^\s/@'\"]+)@")
_ASSIGNED = re.compile(r"(?:export[ \t]+)?([A-Z][A-Z0-9_]*)=(.*)", re.DOTALL)

# What stands for a value and is none: ${NAME}, $${NAME}, ${{ x }}, {{ x }}, <x>, $(x).
_PLACEHOLDER = re.compile(
    r"\$?\$\{[A-Za-z_][A-Za-z0-9_]*\}|\$?\{\{[^{}]*\}\}|<[^<>]*>|\$\([^()]*\)"
)
_NOTHING = re.compile(r"(?i:null|~|true|false|yes|no|on|off|none)|[*xX]{3,}|\.{3}|…|\d{1,3}")


def secret_key(keys: Iterable[object]) -> bool:
    """Whether the way to a value says that it is not to be shown."""
    return any(
        isinstance(key, str) and (_HIDDEN_KEY.search(key) is not None or _is_name(key))
        for key in keys
    )


def is_secret_at(keys: Sequence[object]) -> bool:
    """Whether what stands at the end of these keys is a secret, if it is a value at all.

    :param keys: with the document's kind before them, where it has one.
    """
    words = [_word(key) for key in keys if isinstance(key, str)]
    if not words or not isinstance(keys[-1], str):
        return False
    *above, last = words
    if "encrypteddata" in above:  # of a SealedSecret
        return False
    if last == "secret" and _CIPHERS.intersection(above):
        return True
    return _is_name(keys[-1]) or bool(above and above[-1] in _BELOW.get(last, ()))


def _is_name(key: str) -> bool:
    return _NAME.fullmatch(_word(key)) is not None or is_variable(key)


def _word(key: str) -> str:
    return key.replace("-", "").replace("_", "").lower()


def is_variable(name: str) -> bool:
    """Whether a variable or a fact of this name holds a secret."""
    return _VARIABLE.fullmatch(name) is not None


def is_value(text: str) -> bool:
    """Whether a text at such a key is really one: not empty, encrypted, or a placeholder alone."""
    left = _PLACEHOLDER.sub("", text).strip()
    return bool(left) and not left.startswith("ENC[") and _NOTHING.fullmatch(left) is None


def signs(text: str) -> Iterator[tuple[int, str]]:
    """Secrets by their own form: where each starts in the text, and what it is."""
    for what, sign in _SIGNS.items():
        for match in sign.finditer(text):
            yield match.start(), what
    for match in _BASE64.finditer(text):
        if what := _encoded(match[0]):
            yield match.start(), f"{what} in base64"


def _encoded(text: str, deeper: bool = True) -> str:
    """What is in a text in base64; a Secret holds it twice encoded."""
    try:
        # Cut short; what is whole of it will do.
        decoded = base64.b64decode(text[: len(text) // 4 * 4]).decode(errors="replace")
    except binascii.Error:
        return ""
    if not _IN_BASE64.search(decoded):
        return ""
    found = (what for what, sign in _SIGNS.items() if sign.search(decoded))
    inner = (_encoded(match[0], deeper=False) for match in _BASE64.finditer(decoded) if deeper)
    return next(found, "") or next(filter(None, inner), "")


def in_value(text: str) -> str:
    """What a value holds that is secret wherever it stands; "" for nothing.

    Its own form, the password of an address, or ``NAME=value`` of a variable.
    """
    for _, what in signs(text):
        return what
    for match in _URL_PASSWORD.finditer(text):
        if is_value(match[1]):
            return "a password in an address"
    assigned = _ASSIGNED.fullmatch(text)
    if assigned and is_variable(assigned[1]) and is_value(assigned[2].strip("'\"")):
        return f"a secret ({assigned[1]})"
    return ""
