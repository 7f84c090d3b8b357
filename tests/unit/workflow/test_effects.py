"""What each rule does; each has to be known, so that no run of it goes without its locks."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from talosmake.inventory.artifact import Artifact
from talosmake.inventory.model import Goal
from talosmake.report import dag
from talosmake.workflow import effects, lifecycle, run_view, targets
from talosmake.workflow.effects import RULES, Effect
from tests.project import REPOSITORY
from tests.unit.rollout.test_installed import ENVIRONMENT

_TEXTS = {
    path.relative_to(REPOSITORY).as_posix(): path.read_text()
    for path in (REPOSITORY / "Snakefile", *sorted((REPOSITORY / "rules").glob("*.smk")))
}
_RULES = {
    match[2]: match[0]
    for text in _TEXTS.values()
    for match in re.finditer(r"^( *)rule (\w+):\n(?:\1 .*\n|\n)*", text, re.M)
}

# By what they do: the functions of the steps.
_CALLS = {
    Effect.TOUCHES: r"make\.make_\w+|lab\.start|simulator\.start|apply\.apply_config"
    r"|bootstrap\.bootstrap_cluster|reset\.reset|reboot\.reboot",
    Effect.STOPS: r"destroy\.\w+|lab\.stop|simulator\.stop",
}


def test_table_has_all_rules_and_no_other() -> None:
    assert RULES.keys() == _RULES.keys(), "say in effects.RULES what a new rule does"


def test_rules_before_which_talosctl_is_looked_for_are_there() -> None:
    assert RULES.keys() >= lifecycle._FIRST_CALLS


def test_every_rule_has_an_effect() -> None:
    assert all(RULES.values())
    for name, effect in RULES.items():
        is_one = sum(each in effect for each in (Effect.LOOKS, Effect.WRITES, Effect.STOPS))
        assert is_one + (Effect.TOUCHES in effect) + (Effect.COLLECTS in effect) == 1, name


def test_what_makes_a_file_does_not_only_look() -> None:
    for name, text in _RULES.items():
        if "output:" in text:
            assert effects.work([name]) == {name}, name


def test_what_changes_or_stops_machines_is_known_by_what_it_calls() -> None:
    for effect, functions in _CALLS.items():
        calls = re.compile(rf"jobs\.run\(\s*log,\s*(?:{functions})\b")
        found = {name for name, text in _RULES.items() if calls.search(text)}
        assert found == {name for name in RULES if effect in RULES[name]}, effect


def test_what_brings_nodes_their_configs_deploys() -> None:
    environment = replace(ENVIRONMENT, artifact=object.__new__(Artifact))

    def reaches(text: str) -> bool:
        target = re.search(r"of_each\(targets\.(\w+)\)", text)
        files = getattr(targets, target[1])(environment) if target else []
        return any(file.suffix == ".applied" for file in files)

    found = {name for name, text in _RULES.items() if name != "all" and reaches(text)}
    found |= {name for name, text in _RULES.items() if re.search(r"\.applied\",\n    log:", text)}
    assert found | {"bootstrap_cluster"} == {
        name for name in RULES if Effect.DEPLOYS in RULES[name]
    }


def test_targets_that_do_nothing_themselves_have_no_job() -> None:
    for name, text in _RULES.items():
        assert ("run:" not in text) == (Effect.COLLECTS in RULES[name]), name


def test_what_makes_a_file_is_shown_in_words_and_drawn() -> None:
    made = {name for name, text in _RULES.items() if "output:" in text}
    assert made == run_view._WORDS.keys()
    assert made - {"unpack_config"} == dag.NODE_STEPS.keys() | dag.CLUSTER_STEPS.keys()


def test_looking_disturbs_no_run_and_is_not_summed_up() -> None:
    assert effects.work(["nodes", "diff", "report"]) == frozenset()
    work = effects.work(["diff", "render_config", "validate_config"])
    assert work == {"render_config", "validate_config"}
    assert effects.is_summed_up(work)
    assert not effects.is_summed_up(frozenset())


def test_what_stops_nodes_is_work_and_not_summed_up() -> None:
    work = effects.work(["vms_stop"])
    assert work == {"vms_stop"}
    assert not effects.is_summed_up(work)
    assert effects.is_summed_up([*work, "apply_script"])


def test_rule_of_a_person_is_work_that_touches_no_machine() -> None:
    assert effects.work(["theirs"]) == {"theirs"}
    assert effects.is_summed_up(["theirs"])
    assert effects.with_effect(["theirs"], Effect.TOUCHES) == frozenset()


@pytest.mark.parametrize(
    ("rules", "goal", "deployed"),
    [
        (["apply_worker"], Goal.RENDERED, True),
        (["up"], Goal.RENDERED, True),
        (["all", "kubeconfig"], Goal.BOOTSTRAPPED, True),
        (["all"], Goal.APPLIED, True),
        (["all"], Goal.VALIDATED, False),
        (["render_config"], Goal.BOOTSTRAPPED, False),
        (["reset"], Goal.BOOTSTRAPPED, False),
    ],
)
def test_whether_nodes_were_to_have_what_is_in_git(
    rules: list[str], goal: Goal, deployed: bool
) -> None:
    options = replace(ENVIRONMENT.options, goal=goal)
    environment = replace(ENVIRONMENT, options=options)
    assert effects.has_deployed(rules, environment) is deployed
