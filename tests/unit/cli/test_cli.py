from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from talosmake.base.errors import ConfigError
from talosmake.base.tools import Tool
from talosmake.cli import main, repository, run, targets
from talosmake.cli.run import Options
from talosmake.patches import layout
from tests.project import REPOSITORY

T = targets.named() | {"": targets.TARGETS[0]}
NONE = Options()


@pytest.mark.parametrize(
    ("target", "words", "options", "command"),
    [
        ("up", ["prod"], Options(jobs=4), "up --config env=prod -j4"),
        ("", ["prod"], NONE, "--config env=prod"),
        ("up", ["env=prod"], Options(dry_run=True), "up --config env=prod -n"),
        ("up", [], NONE, "up"),
        (
            "explain",
            ["prod", "cp_1", "machine.network"],
            NONE,
            "explain --config env=prod node=cp_1 path=machine.network",
        ),
        ("explain", ["prod", "path=a", "cp_1"], NONE, "explain --config env=prod path=a node=cp_1"),
        ("promote", ["dev", "prod"], NONE, "promote --config from=dev to=prod"),
        (
            "reset",
            ["prod", "cp_1", "confirm=cp_1"],
            NONE,
            "reset --config env=prod node=cp_1 confirm=cp_1",
        ),
        ("deploy", ["prod", "a=b.tar.gz"], NONE, "deploy --config env=prod a=b.tar.gz"),
        (
            "up",
            ["prod"],
            Options(keep_going=True, more=("--forceall",)),
            "up --config env=prod --keep-going --forceall",
        ),
        ("schemas", [], NONE, "schemas"),
    ],
)
def test_words_become_a_snakemake_command(
    target: str, words: list[str], options: Options, command: str
) -> None:
    assert run.arguments(T[target], words, options) == command.split()


def test_config_values_end_before_the_next_option() -> None:
    """Snakemake takes what follows --config for values."""
    arguments = run.arguments(T["up"], ["prod", "strict=true"], Options(True, 2, True))
    at = arguments.index("--config")
    assert arguments[at + 1 : at + 3] == ["env=prod", "strict=true"]
    assert arguments[at + 3].startswith("-")


@pytest.mark.parametrize(
    ("target", "words", "said"),
    [
        ("up", ["prod", "dev"], "up: 'dev' is one word too many"),
        ("schemas", ["prod"], "schemas: 'prod' is one word too many"),
        ("up", ["prod", "env=dev"], "up: env is given twice: prod, dev"),
        ("up", ["prod", "strict=true", "strict=false"], "up: strict is given twice: true, false"),
    ],
)
def test_words_that_do_not_fit_are_refused(target: str, words: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        run.arguments(T[target], words, NONE)
    assert error.value.message == said


def test_targets_are_those_of_the_workflow() -> None:
    rules = {"all"}
    texts = [REPOSITORY / "Snakefile", *(REPOSITORY / "rules").glob("*.smk")]
    for text in (path.read_text() for path in texts):
        for name, body in re.findall(r"^rule (\w+):\n((?: .*\n|\n)*)", text, re.M):
            if not re.search(r"^ +output:", body, re.M):
                rules.add(name)
    assert {target.name or "all" for target in targets.TARGETS} == rules


def test_keys_are_keys_of_the_configuration() -> None:
    schema = (REPOSITORY / "config/schemas/config.schema.yaml").read_text()
    known = set(re.findall(r"^  (\w+):$", schema, re.M))
    for target in targets.TARGETS:
        assert set(target.keys) <= known
        assert set(target.words) <= set(target.keys) or not target.takes_env


@pytest.mark.parametrize(
    ("target", "given", "word", "offered"),
    [
        ("up", [], "", ["strict=", "all", "prod"]),
        ("up", ["prod"], "", ["strict="]),
        ("explain", ["prod"], "", ["node=", "path=", "cp_1", "worker_1"]),
        (
            "reset",
            ["prod", "cp_1"],
            "confirm=",
            ["confirm=cp_1", "confirm=prod", "confirm=worker_1"],
        ),
        ("diff", ["prod"], "against=", ["against=live", "against=applied"]),
        ("promote", [], "", ["from=", "to=", "prod"]),
    ],
)
def test_completion_offers_what_may_stand_next(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    given: list[str],
    word: str,
    offered: list[str],
) -> None:
    for name in ("control_planes/cp_1", "workers/worker_1"):
        (tmp_path / "patches/envs/prod" / name).mkdir(parents=True)
    (tmp_path / "patches/envs/$(touch x)").mkdir()
    monkeypatch.chdir(tmp_path)
    assert sorted(main._offered(T[target], given, word)) == sorted(offered)


def test_help_of_each_target_tells_its_keys() -> None:
    for name, target in targets.named().items():
        shown = CliRunner().invoke(main.talosmake, [name, "--help"])
        assert shown.exit_code == 0
        for key in target.keys:
            assert f"{key}=" in shown.output


def test_mistake_is_its_message_alone() -> None:
    shown = CliRunner().invoke(main.talosmake, ["up", "prod", "dev"])
    assert shown.exit_code == 1
    assert shown.output.startswith("Error: up: 'dev' is one word too many\n")


def answers(**given: str) -> repository.Answers:
    return repository.ask(given, None)


def test_new_repository_has_the_nodes_that_were_named(tmp_path: Path) -> None:
    told = answers(control_planes="10.9.0.11,10.9.0.12 10.9.0.13", workers="10.9.0.21")
    assert next(iter(repository.write(tmp_path, told))).startswith(f"{tmp_path}: ")
    nodes = sorted(path.parent.name for path in tmp_path.glob("patches/envs/prod/*/*/node.env"))
    assert nodes == ["cp_1", "cp_2", "cp_3", "worker_1"]
    assert (
        "NODE_IP=10.9.0.13\n"
        in (tmp_path / "patches/envs/prod/control_planes/cp_3/node.env").read_text()
    )


def test_endpoint_that_is_no_nodes_address_is_shared_by_the_control_planes() -> None:
    shared = repository.content(answers(endpoint="https://10.0.1.10:6443"))
    assert "VIP=10.0.1.10\n" in shared["patches/envs/prod/cluster.env"]
    assert "patches/envs/prod/control_planes/common.yaml" in shared
    own = repository.content(answers(endpoint="https://10.0.1.11:6443"))
    assert "VIP" not in own["patches/envs/prod/cluster.env"]


@pytest.mark.parametrize("talosctl", ["1.13.9", "1.14.1"])
def test_new_repository_is_written_in_the_layout_of_its_contract(
    monkeypatch: pytest.MonkeyPatch, talosctl: str
) -> None:
    monkeypatch.setattr(Tool, "pinned", talosctl)
    files = repository.content(answers(disk="/dev/nvme0n1"))
    contract = ".".join(talosctl.split(".")[:2])
    assert f"TALOS_CONTRACT=v{contract}\n" in files["patches/envs/prod/cluster.env"]
    [text] = [text for path, text in files.items() if path.endswith("envs/prod/common.yaml")]
    documents = list(yaml.safe_load_all(text))
    disk = {"1.13": "${INSTALL_DISK}", "1.14": 'disk.dev_path == "${INSTALL_DISK}"'}[contract]
    assert layout.values(documents, layout.INSTALL_DISK) == [disk]
    assert layout.values(documents, layout.CERT_SANS) == [["${NODE_IP}"]]
    number = tuple(map(int, contract.split(".")))
    assert layout.INSTALL_DISK.at(number).kind in [layout.kind_of(one) for one in documents]


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(ConfigError, match=r"README\.md is there already; nothing was written"):
        list(repository.write(tmp_path, answers()))
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "../x"}, "'../x' is no name for an environment"),
        ({"control_planes": "10.0.0"}, "10.0.0: no IP address"),
        ({"control_planes": ","}, "there is no control plane"),
        ({"workers": "10.0.1.11"}, "10.0.1.11: two nodes have this address"),
        ({"ci": "jenkins"}, "pipelines for 'jenkins'"),
    ],
)
def test_answers_that_cannot_be_used_are_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        answers(**given)
    assert said in error.value.message


def test_questions_have_defaults_and_options_are_not_asked() -> None:
    asked: list[str] = []

    def question(text: str, default: str) -> str:
        asked.append(text)
        return default

    told = repository.ask({"name": "dev", "disk": "/dev/nvme0n1"}, question)
    assert told.cluster == "talos-dev"
    assert told.disk == "/dev/nvme0n1"
    assert "Environment" not in asked
    assert "Disk to install to" not in asked
    assert "Kubernetes API" in asked
