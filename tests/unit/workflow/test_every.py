from __future__ import annotations

from pathlib import Path

import pytest

from talosmake.inventory.settings import Config
from talosmake.workflow import every

ALL = Config(env="all", goal=None, workers_at_once=1, bundle="own", defaults={})


def of_one(*argv: str) -> list[str]:
    return every.arguments(argv, "dev", Path("/here"), Path("/program/Snakefile"))


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (["-j4", "--config", "env=all"], ["-j4", "--config", "env=dev"]),
        (["up", "--config", "env=all", "goal=x"], ["up", "--config", "env=dev", "goal=x"]),
        (["--config=env=all", "-n"], ["--config=env=dev", "-n"]),
        (["-Cenv=all"], ["-Cenv=dev"]),
        (["-C", "node=a", "env=all"], ["-C", "node=a", "env=dev"]),
        # Said by config.yaml.
        (["nodes"], ["nodes", "--config", "env=dev"]),
        (["nodes", "--config", "node=a"], ["nodes", "--config", "env=dev", "node=a"]),
        # Not the environment.
        (["--config", "my_env=all", "x"], ["--config", "env=dev", "my_env=all", "x"]),
    ],
)
def test_arguments_of_one_environment(argv: list[str], wanted: list[str]) -> None:
    assert of_one(*argv) == wanted


@pytest.mark.parametrize("option", [["-d", "there"], ["--directory=there"]])
def test_directory_that_snakemake_went_to_is_not_looked_for_again(option: list[str]) -> None:
    found = of_one(*option, "--config", "env=all")
    assert found[-4:] == ["--directory", "/here", "--snakefile", "/program/Snakefile"]


def test_some_targets_know_of_all_environments() -> None:
    assert every.is_meant(ALL, ["snakemake", "nodes"])
    assert not every.is_meant(ALL, ["snakemake", "rekey"])
    assert every.is_meant(ALL, ["snakemake", "reset"])
    # Which say so: in each of them a node may have the name.
    assert not every.is_meant(ALL, ["snakemake", "reboot", "node=cp_1"])
    confirmed = Config(env="all", goal=None, workers_at_once=1, bundle="", defaults={}, confirm="x")
    assert not every.is_meant(confirmed, ["snakemake", "reset"])
    one = Config(env="dev", goal=None, workers_at_once=1, bundle="", defaults={})
    assert not every.is_meant(one, ["snakemake", "nodes"])


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ({"dev": 0, "prod": 0}, None),
        ({"dev": 2, "prod": 0}, None),
        ({"dev": 1, "prod": 2}, "env=all: failed: dev; done: prod"),
        ({"dev": -15}, "env=all: failed: dev; not begun: prod"),
    ],
)
def test_what_failed_is_named(codes: dict[str, int], said: str | None) -> None:
    error = every._failed(codes, ["dev", "prod"])
    assert (error.message if error else None) == said
