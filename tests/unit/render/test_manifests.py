from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from talosmake.base.errors import PatchError
from talosmake.render import manifests
from talosmake.render.manifests import Manifest


def config_map(name: str, namespace: str = "") -> str:
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n"
    return text + (f"  namespace: {namespace}\n" if namespace else "")


NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: apps\n"


def manifest(contents: str, name: str = "one", *, secret: bool = False) -> Manifest:
    return Manifest(name, contents, source=f"{name}.yaml", secret=secret)


def refused(*contents: str, secret: bool = False) -> PatchError:
    entries = [manifest(text, f"m{n}", secret=secret) for n, text in enumerate(contents)]
    with pytest.raises(PatchError) as error:
        manifests.check(entries)
    return error.value


def names(contents: str) -> list[str]:
    return [str(item) for item in manifests.objects_of(manifest(contents))]


def test_objects_in_order_and_what_says_nothing_left_out() -> None:
    text = f"---\n# a comment\n---\n{config_map('a')}---\nnull\n---\n{config_map('b', 'x')}---\n"
    assert names(text) == ["ConfigMap a", "ConfigMap x/b"]
    assert [item.number for item in manifests.objects_of(manifest(text))] == [2, 4]
    assert names("# nothing\n") == []


def test_lists_are_unwrapped() -> None:
    items = [yaml.safe_load(config_map(name)) for name in "ab"]
    text = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items})
    assert names(text) == ["ConfigMap a", "ConfigMap b"]


def test_objects_of_one_name_that_are_not_the_same() -> None:
    role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  name: a\n"
    other_group = role.replace("rbac.authorization.k8s.io", "example.org")
    manifests.check(
        [manifest("---\n".join([config_map("a"), config_map("a", "kube-system"), role])),
         manifest(other_group, "two")]
    )  # fmt: skip


def test_object_of_another_version_is_the_same_object() -> None:
    pool = "apiVersion: cilium.io/v2\nkind: CiliumLoadBalancerIPPool\nmetadata: {name: a}\n"
    error = refused(pool, pool.replace("/v2", "/v2alpha1"))
    assert error.message.startswith(
        "m0.yaml and m1.yaml: CiliumLoadBalancerIPPool a is there twice"
    )


@pytest.mark.parametrize("key", ["apiVersion", "kind", "metadata"])
def test_object_without_what_each_has(key: str) -> None:
    whole = yaml.safe_load(config_map("a"))
    del whole[key]
    error = refused(yaml.safe_dump(whole))
    assert f"has no {'metadata.name' if key == 'metadata' else key}" in error.message


@pytest.mark.parametrize("value", [["b"], {"b": "c"}])
@pytest.mark.parametrize("key", ["apiVersion", "kind", "metadata.name", "metadata.namespace"])
def test_object_in_which_no_text_stands_for_what_must_be_one(key: str, value: object) -> None:
    whole = yaml.safe_load(config_map("a"))
    first, _, second = key.partition(".")
    whole[first] = whole[first] | {second: value} if second else value
    error = refused(yaml.safe_dump(whole))
    named = "" if key == "kind" else " (ConfigMap)"
    assert error.message == (
        f"m0.yaml: document 1 of the manifest 'm0'{named}: {key} must be text, not a mapping or a "
        "list"
    )


@pytest.mark.parametrize("text", ["just text\n", "[1, 2]\n", "kind: [\n", "a: b\n  c: d\n"])
def test_what_is_no_object(text: str) -> None:
    assert refused(text).message.startswith("m0.yaml: ")


@pytest.mark.parametrize(
    "namespace", ["", "default", "kube-system", "kube-public", "kube-node-lease"]
)
def test_namespaces_of_kubernetes_are_there(namespace: str) -> None:
    manifests.check([manifest(config_map("a", namespace))])


def test_namespace_of_any_manifest_is_there_as_talos_creates_them_first() -> None:
    manifests.check([manifest(config_map("a", "apps")), manifest(NAMESPACE, "zzz")])
    error = refused(config_map("a", "apps"), NAMESPACE.replace("apps", "other"))
    assert error.message == (
        "m0.yaml: ConfigMap apps/a: the namespace apps will not be there when Talos creates it"
    )


def test_namespace_may_come_from_a_url() -> None:
    manifests.check([manifest(config_map("a", "apps"))], more_elsewhere=True)


SECRET = "hunter2"


@pytest.mark.parametrize(
    "contents",
    [
        [f"{SECRET}: [\n"],
        [f"kind: {SECRET}\n"],
        [config_map(SECRET), config_map(SECRET)],
        [config_map(SECRET, SECRET)],
    ],
)
def test_what_came_out_of_an_encrypted_file_is_not_quoted(contents: list[str]) -> None:
    assert SECRET not in str(refused(*contents, secret=True))


# In pieces, so that no check takes it for a key that must not be in Git.
KEY = "-----BEGIN EC " + "PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----\n"


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_private_keys_are_found(cut: int) -> None:
    encoded = base64.b64encode((KEY + "x" * cut).encode()).decode()
    assert manifests.holds_private_key(f"data:\n  tls.key: {encoded}\n")
    assert manifests.holds_private_key(f"data:\n  tls.key: {encoded.rstrip('=')}\n")
    assert manifests.holds_private_key(f"data:\n  tls.key: |\n    {KEY}")
    certificate = KEY.replace("EC PRIVATE KEY", "CERTIFICATE")
    assert not manifests.holds_private_key(certificate)
    assert not manifests.holds_private_key(base64.b64encode(certificate.encode()).decode())


def test_differences_name_the_objects() -> None:
    one = manifest(f"{config_map('a')}---\n{config_map('b')}data: {{x: '1'}}\n")
    other = manifest(one.contents.replace("'1'", "'2'"))
    assert manifests.differences(one, other) == ["ConfigMap b"]
    assert manifests.differences(one, manifest("# comment\n" + one.contents)) == []


def config(**inlined: str) -> list[object]:
    entries = [{"name": name, "contents": contents} for name, contents in inlined.items()]
    return [{"cluster": {"inlineManifests": entries}}, {"kind": "HostnameConfig"}]


def test_changed_manifests_of_two_configs() -> None:
    one = config(same="a", changed="b", gone="c")
    other = config(changed="B", same="a\n", new="d")
    assert manifests.changed(one, other) == ["changed", "gone", "new"]
    assert manifests.changed(one, one) == []
    assert manifests.changed([{"machine": {}}], ["no config"]) == []


_NAMES = st.sampled_from(["a", "b", "c"])


@given(st.lists(st.tuples(_NAMES, _NAMES), max_size=6))
def test_twice_is_found_wherever_it_is(pairs: list[tuple[str, str]]) -> None:
    entries = [manifest(NAMESPACE.replace("apps", name), name) for name in "abc"] + [
        manifest(config_map(name, space), f"m{n}") for n, (name, space) in enumerate(pairs)
    ]
    if len(set(pairs)) == len(pairs):
        manifests.check(entries)
    else:
        with pytest.raises(PatchError, match="is there twice"):
            manifests.check(entries)


def test_two_entries_of_one_name() -> None:
    entries: Any = [manifest(config_map("a")), manifest(config_map("b"))]
    with pytest.raises(PatchError, match=r"^one.yaml: two inline manifests are named 'one'"):
        manifests.check(entries)
