from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator

from talosmake.base.errors import ToolError
from talosmake.inventory import environments, known_facts
from talosmake.inventory.known_facts import Fact
from talosmake.report import schemas
from tests.project import REPOSITORY, Project

SHIPPED = [path for pattern in schemas.PATCHES for path in sorted(REPOSITORY.glob(pattern))]
# Talos takes these, and leaves them out of its schema because documents of their own replace them.
DEPRECATED = ("registries", "time")


@cache
def _validator() -> Draft7Validator:
    return Draft7Validator(schemas.patch_schema(schemas.talos_schema((1, 13))))


def faults(patch: str) -> list[str]:
    return [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
        for document in yaml.safe_load_all(patch)
        for error in _validator().iter_errors(document)
    ]


def test_it_is_a_schema() -> None:
    Draft7Validator.check_schema(_validator().schema)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_shipped_patches_fit(path: Path) -> None:
    documents = list(yaml.safe_load_all(path.read_text()))
    for document in documents:
        for key in DEPRECATED:
            document.get("machine", {}).pop(key, None)
    assert faults(yaml.safe_dump_all(documents)) == []


def test_there_are_shipped_patches() -> None:
    assert len(SHIPPED) > 10


def test_what_an_editor_takes_for_a_patch_is_what_is_read_as_one(small: Project) -> None:
    dev = "patches/envs/dev"
    patches = {
        "patches/common.yaml",
        *(f"{dev}/{role}common.yaml" for role in ("", "control_planes/", "workers/")),
        *(f"{dev}/{node}/x.yaml" for node in ("control_planes/cp_1", "workers/worker_1")),
    }
    others = {
        f"{place}/cilium/{file}"
        for place in ("patches", dev)
        for file in ("manifests/pool.yaml", "manifests/common.yaml")
    } | {"patches/cilium/values.yaml"}
    for path in (*patches, *others, f"{dev}/cilium.yaml"):
        small.write(path, "")
    small.write(f"{dev}/schematic.yaml", "customization: {}\n")
    small.environment("dev", "TALOS_SCHEMATIC=schematic.yaml\n")
    assert {
        str(path) for node in environments.load("dev").nodes for path in node.patches
    } == patches
    taken = {str(path) for pattern in schemas.PATCHES for path in Path().glob(pattern)}
    assert taken == patches


@pytest.mark.parametrize(
    "patch",
    [
        "machine: {install: {wipe: true}}",
        "machine: {install: {wipe: '${WIPE}', disk: '${DISK}'}}",
        "machine: {install: {$patch: delete}}",
        "kind: LinkConfig\napiVersion: v1alpha1\nname: net0\nmtu: 1400",
        "kind: LinkConfig\napiVersion: v1alpha1\nname: net0\nmtu: ${MTU}",
        "kind: HostnameConfig\n$patch: delete",
    ],
)
def test_good_patch(patch: str) -> None:
    assert faults(patch) == []


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ("machine: {instal: {}}", "machine: Additional properties are not allowed ('instal'"),
        ("machine: {install: {wipe: often}}", "machine.install.wipe: 'often' is not valid"),
        ("machine: {install: {wipe: '${wipe}'}}", "machine.install.wipe: '${wipe}' is not valid"),
        ("kind: LinkConfg\nname: x", "kind: 'LinkConfg' is not one of ["),
        ("kind: LinkConfig\nname: x\nmtu: [1]", "mtu: [1] is not valid"),
        ("kind: LinkConfig\nmtuu: 1", ": Additional properties are not allowed ('mtuu'"),
        ("machine: {install: {$patch: remove}}", "machine.install.$patch: 'remove' is not one of"),
    ],
)
def test_bad_patch(patch: str, message: str) -> None:
    [fault] = faults(patch)
    assert fault.startswith(message)


def test_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    monkeypatch.setattr(schemas, "say", said.append)
    schemas.write()
    Draft7Validator.check_schema(json.loads(schemas.PATCH.read_text()))
    config = json.loads(schemas.CONFIG.read_text())
    shipped = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
    assert list(Draft7Validator(config).iter_errors(shipped)) == []
    settings: dict[str, Any] = json.loads(said[0].partition("json\n")[2].partition("\nAny")[0])
    assert set(settings["yaml.schemas"]) == {str(schemas.PATCH), str(schemas.CONFIG)}


def test_environments_of_several_minor_versions_have_their_own_schemas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, talos in (("dev", "v1.14.1"), ("prod", "v1.13.0"), ("broken", "")):
        path = tmp_path / f"patches/envs/{name}/cluster.env"
        path.parent.mkdir(parents=True)
        path.write_text(f"TALOS_VERSION={talos}\n" if talos else "no line of this form\n")
    patches = schemas.patches_of_schemas(schemas._minors())
    own = Path("rendered_configs/schemas/patch-1.14.schema.json")
    assert {path: minor for path, (minor, _) in patches.items()} == {
        schemas.PATCH: (1, 13),
        own: (1, 14),
    }
    assert patches[schemas.PATCH][1][:2] == [
        "patches/common.yaml",
        "patches/envs/prod/common.yaml",
    ]
    assert "patches/envs/dev/workers/*/*.yaml" in patches[own][1]
    assert not set(patches[own][1]) & set(patches[schemas.PATCH][1])


def test_schema_of_talos_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "TALOS", tmp_path / "none")
    with pytest.raises(ToolError, match="is not there") as error:
        schemas.write()
    assert "make setup" in error.value.hint


def test_config_yaml_offers_the_facts_that_are_known() -> None:
    path = REPOSITORY / "config/schemas/config.schema.yaml"
    schema = schemas.config_schema(yaml.safe_load(path.read_text()))
    Draft202012Validator.check_schema(schema)
    check = Draft202012Validator(schema)
    assert check.is_valid({"defaults": {"APPLY_MODE": "staged", "MY_OWN": 1}})
    assert not check.is_valid({"defaults": {"APPLY_MODE": "stagged"}})
    assert not check.is_valid({"defaults": {"own": "x"}})
    assert check.is_valid({"defaults": {"CALL_TIMEOUT": "20", "SIMULATED": "true", "VM_DISKS": 20}})
    for wrong in ({"CALL_TIMEOUT": 0}, {"CALL_TIMEOUT": "2m"}, {"LAB": "yes"}, {"VM_DISKS": "1,2"}):
        assert not check.is_valid({"defaults": wrong}), wrong
    assert check.is_valid(yaml.safe_load((REPOSITORY / "config/config.yaml").read_text()))


@pytest.mark.parametrize("fact", known_facts.facts().values(), ids=known_facts.facts())
def test_an_editor_shows_what_a_fact_is_and_takes_what_it_offers(fact: Fact) -> None:
    entry = schemas.facts_schema()["properties"][fact.name]
    assert entry["description"].endswith(".")
    assert not re.search(r"[`\[]|\]\(", entry["description"])
    assert not [key for key in entry if key.startswith("x-")]
    check = Draft202012Validator(entry)
    for value in (*entry.get("examples", ()), *entry.get("enum", ()), entry.get("default", "")):
        assert value == "" or check.is_valid(value), value
    assert (
        check.is_valid("") == fact.may_be_empty
        or "enum" in entry
        or fact.kind != "string"
        or ("pattern" not in entry)
    )
