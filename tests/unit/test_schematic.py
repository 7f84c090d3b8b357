"""Schematics' ids, against Go's yaml.v3 that the Image Factory computes them with."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from scripts.errors import InventoryError
from scripts.schematic import PLAIN, canonical, installer_image, iso_url, schematic_id
from tests.checks.test_checks import go

HERE = Path("schematic.yaml")
SOURCE = Path(__file__).parent / "schematic"

TEXTS = (
    """
-console|vga=791|a b|- x|x: y|'q'|# c|ünï|| lead|trail |yes|on|y|N|t|2020-01-01|2020-1-1|1|1.5
0x1f|1e3|~|null|x #y|x#y|@a|`b|%d|*a|&a|!t|||> x|{a}|[b]|a,b|a]|?x|? x|-|--|...|---|a'b|a"b|1_000
1:30|190:20:30|0o7|010|=|<<|.5|5.|+1|-1|+|-.inf|.nan|a\\\\b|net.ifnames=0|console=ttyS0,115200n8
true |0b1|12e03|1__2|_1|0.|-0|2020-01-01 10:11:12|2020-01-01T10:11:12Z|a:|a:b|:a|: a|08|0o8|1.2.3
0x|0xg|e3|1e|Infinity|12345678901234567890123|"|'|''|""
""".strip()
    .replace("\n", "|")
    .split("|")
)
LINES = ["a: b\nc\n", "a\nb", "a\n\n", "x\n\n\ny\n", "links:\n  - name: eth0\n    up: true\n"]


def documents() -> list[str]:
    texts = [*TEXTS, *LINES, "long " * 60 + "end", "tab\there"]
    made: list[object] = [{"customization": {"extraKernelArgs": [text]}} for text in texts]
    made += [
        {"customization": {"meta": [{"key": 10, "value": text}, {"key": 2, "value": "x"}]}}
        for text in texts
    ]
    made += [
        {"customization": {}},
        {},
        {"overlay": {"name": "rpi", "image": "siderolabs/sbc"}, "customization": {}},
        {"overlay": {"name": "rpi"}},
        {"customization": {"secureboot": {"includeWellKnownCertificates": True}}},
        {"customization": {"secureboot": {"includeWellKnownCertificates": False}}},
        {"customization": {"extraKernelArgs": [], "systemExtensions": {}}},
        {
            "customization": {
                "systemExtensions": {"officialExtensions": ["siderolabs/gvisor", "siderolabs/a"]},
                "extraKernelArgs": ["console=ttyS0"],
            },
        },
    ]
    return [yaml.safe_dump(document) for document in made]


def test_the_published_id() -> None:
    for text in ("customization: {}", "", "{}\n"):
        assert schematic_id(text, HERE) == PLAIN


def test_canonical_form_is_what_yaml_v3_writes() -> None:
    texts = documents()
    done = subprocess.run(
        [go(), "run", "."],
        cwd=SOURCE,
        input="\n".join(json.dumps(text) for text in texts),
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(texts)
    for text, answer in zip(texts, answers, strict=True):
        assert canonical(text, HERE) == answer


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("customisation: {}", "'customisation' was unexpected"),
        ("customization: {extraKernelArgs: [1]}", "customization.extraKernelArgs.0: 1 is not"),
        ("customization: {meta: [{key: 300, value: x}]}", "300 is greater than"),
        ("[]", "the document: [] is not of type"),
        ("a: [", "not YAML"),
        ('customization: {extraKernelArgs: ["\\u2028"]}', "is not computed here"),
        ('customization: {extraKernelArgs: ["\\n a"]}', "is not computed here"),
    ],
)
def test_what_is_no_schematic_is_refused(text: str, message: str) -> None:
    with pytest.raises(InventoryError) as error:
        canonical(text, HERE)
    assert message in str(error.value)
    assert str(error.value).startswith("schematic.yaml: ")


def test_where_the_factory_serves_it() -> None:
    assert iso_url(PLAIN, "v1.13.0", secure_boot=False) == (
        f"https://factory.talos.dev/image/{PLAIN}/v1.13.0/metal-amd64.iso"
    )
    assert installer_image(PLAIN, "v1.13.0", secure_boot=True) == (
        f"factory.talos.dev/metal-installer-secureboot/{PLAIN}:v1.13.0"
    )
