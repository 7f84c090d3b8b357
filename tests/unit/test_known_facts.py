from __future__ import annotations

import re

import yaml
from jsonschema import Draft202012Validator

from scripts import envfile, known_facts
from tests.project import REPOSITORY

# Names as the code writes them where it reads facts.
_READ = re.compile(
    r"(?:facts\.get\(|facts\[|own\.get\(|(?:text|yes|whole|one_of)\(\s*"
    r"|(?:_true|_one_of|_number|_matching|_address)\(\s*\w+, \w+, )\"([A-Z][A-Z0-9_]+)\""
)
_DERIVED = {"TALOS_KERNEL_SHA256", "TALOS_INITRAMFS_SHA256", "TALOS_IMAGE_SHA256"}


def _documented() -> set[str]:
    text = "".join(path.read_text() for path in (REPOSITORY / "docs").glob("*.md"))
    return set(re.findall(r"`([A-Z][A-Z0-9_]+)(?:=[^`]*)?`", text))


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(known_facts.schema())


def test_all_that_the_code_reads_is_known() -> None:
    read = {
        name
        for path in (REPOSITORY / "scripts").glob("*.py")
        for name in _READ.findall(path.read_text())
    }
    assert len(read) > 40
    assert read <= known_facts.names(), read - known_facts.names()


def test_all_that_is_known_is_documented() -> None:
    known = known_facts.names() - _DERIVED
    assert known <= _documented(), known - _documented()


def test_shipped_environments_fit() -> None:
    check = Draft202012Validator(known_facts.schema())
    files = sorted(REPOSITORY.glob("patches/envs/**/*.env"))
    assert len(files) > 10
    for path in files:
        assert [error.message for error in check.iter_errors(envfile.read(path))] == [], path


def test_defaults_of_the_workflow_are_known() -> None:
    config = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
    assert config["defaults"].keys() <= known_facts.names()
