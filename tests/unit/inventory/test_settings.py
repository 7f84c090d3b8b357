from __future__ import annotations

import json
from typing import Any

import pytest

from talosmake.base.errors import ConfigError
from talosmake.base.program import ROOT
from talosmake.inventory import known_keys, settings
from tests.project import Project


def test_defaults_of_the_workflow(here: Project) -> None:
    read = settings.read({})
    assert (read.env, read.goal, read.bundle) == (None, None, "own")
    assert read.defaults["APPLY_MODE"] == "auto"
    assert settings.limits(read) == {"control_plane": 1, "worker": 10}


def test_project_comes_before_the_workflow_and_the_caller_before_both(here: Project) -> None:
    here.write("config/config.yaml", "env: dev\nworkers_at_once: 3\ndefaults:\n  VIP: 10.0.1.10\n")
    read = settings.read({"env": "prod"})
    assert (read.env, read.workers_at_once) == ("prod", 3)
    assert read.defaults["VIP"] == "10.0.1.10"
    assert read.defaults["CALL_TIMEOUT"] == "20"


def test_values_become_text_as_in_an_env_file(here: Project) -> None:
    defaults = {"A": True, "B": 1, "C": 1.5, "D": "x"}
    read = settings.read({"defaults": defaults})
    assert {"A": "true", "B": "1", "C": "1.5", "D": "x"}.items() <= read.defaults.items()


def test_goal_of_the_caller_wins(small: Project) -> None:
    small.environment("dev", "GOAL=applied\n")
    assert settings.environment(settings.read({}), "dev").options.goal == "applied"
    assert settings.environment(settings.read({"goal": "rendered"}), "dev").options.goal == (
        "rendered"
    )


@pytest.mark.parametrize(
    ("said", "strict"), [(True, True), ("true", True), (False, False), ("false", False)]
)
def test_strict(here: Project, said: bool | str, strict: bool) -> None:
    assert settings.read({}).strict is False
    assert settings.read({"strict": said}).strict is strict


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"strict": "yes"}, "strict: 'yes' must be one of true, false"),
        ({"evn": "dev"}, "evn: no key of config/config.yaml or --config; did you mean env?"),
        ({"xyz": 1}, "xyz: no key of config/config.yaml or --config"),
        (
            {"goal": "aplied"},
            "goal: 'aplied' must be one of rendered, validated, applied, boot",
        ),
        ({"workers_at_once": 0}, "workers_at_once: 0 is less than the minimum of 1"),
        ({"workers_at_once": "many"}, "workers_at_once: 'many' is not of type 'integer'"),
        ({"bundle": "mine"}, "bundle: 'mine' must be one of own, shared"),
        ({"defaults": {"vip": "1"}}, "defaults: 'vip' does not match"),
        ({"defaults": {"VIP": ["1"]}}, "defaults.VIP: ['1'] is not of type"),
        ({"env": 1}, "env: 1 is not of type 'string'"),
    ],
)
def test_wrong_values(here: Project, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        settings.read(overrides)
    assert error.value.message.startswith(f"--config {message}")
    assert error.value.hint


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("goal: aplied", "goal: 'aplied' must be one of rendered, validated, applied, bootstrap"),
        ("workers_at_once: 0", "workers_at_once: 0 is less than the minimum of 1"),
        ("evn: dev", "evn: no key of config/config.yaml or --config; did you mean env?"),
        ("defaults: {VIP: [1]}", "defaults.VIP: [1] is not of type"),
    ],
)
def test_a_wrong_line_of_the_file_is_named(here: Project, line: str, message: str) -> None:
    here.write("config/config.yaml", f"# mine\nbundle: own\n{line}\n")
    with pytest.raises(ConfigError) as error:
        settings.read({"env": "dev"})
    assert error.value.message.startswith(f"config/config.yaml:3: {message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [", "config/config.yaml: not YAML: "),
        (b"- x", "config/config.yaml: must be keys and values"),
        (b"env: \xff", "config/config.yaml: cannot be read: "),
    ],
)
def test_file_that_is_no_config(here: Project, content: bytes, message: str) -> None:
    here.write("config/config.yaml", "").write_bytes(content)
    with pytest.raises(ConfigError) as error:
        settings.read({})
    assert error.value.message.startswith(message)


def test_empty_config_is_fine(here: Project) -> None:
    here.write("config/config.yaml", "# nothing\n")
    assert settings.read({}).workers_at_once == 10


def test_every_default_is_allowed_by_the_schema() -> None:
    content = settings._file(ROOT / settings.FILE)
    settings._check(content, {})


@pytest.mark.parametrize("key", known_keys.names())
def test_what_a_key_refuses_is_refused_with_its_place(here: Project, key: str) -> None:
    number = key in ("artifact", "workers_at_once") or known_keys.words(key)
    for wrong in ([1], "" if number else 2.5):
        here.write("config/config.yaml", "# mine\n")
        with pytest.raises(ConfigError) as error:
            settings.read({key: wrong})
        assert error.value.message.startswith(f"--config {key}: ")
        here.write("config/config.yaml", f"# mine\n{key}: {json.dumps(wrong)}\n")
        with pytest.raises(ConfigError) as error:
            settings.read({})
        assert error.value.message.startswith(f"config/config.yaml:2: {key}: ")
        assert error.value.hint


@pytest.mark.parametrize("key", known_keys.names())
def test_words_that_a_key_offers_are_taken(here: Project, key: str) -> None:
    for word in known_keys.words(key):
        assert settings.read({key: word}).given == {key: word}
