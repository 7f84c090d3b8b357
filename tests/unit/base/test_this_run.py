"""What a process remembers of its run is in one place, and no module keeps anything beside it."""

from __future__ import annotations

import ast
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from talosmake.base import this_run
from talosmake.base.this_run import Memo, Noted
from tests.project import REPOSITORY

PACKAGE = REPOSITORY / "scripts/talosmake"
# Caches that may outlive a run: of pure functions, of the program's own files, or with the state of
# the file in the key. Each with why.
CACHES = {
    "base.process.find": "where a program is; PATH does not change within a process",
    "base.program.version": "the program's own file",
    "base.talosctls.minors": "the program's own file",
    "base.talosctls.require": "a program beside it is the same as long as the process lives",
    "base.tools._registry": "the program's own file",
    "base.tools._pin": "the program's own file",
    "base.tools.require": "a program beside it is the same as long as the process lives",
    "inventory.canonical._form_of": "the program's own schema",
    "inventory.factory.platforms": "the program's own table",
    "inventory.fact_values": "the program's own schema",
    "inventory.known_keys.schema": "the program's own schema",
    "inventory.known_facts": "the program's own schema",
    "inventory.node_names._addresses_in": "size and time of the file are in the key",
    "inventory.node_names._name_in": "size and time of the file are in the key",
    "inventory.schematic._asked": "pure: the same text has the same ID",
    "inventory.versions._tables": "the program's own table",
    "inventory.versions.known": "the program's own table",
    "machines.images._digest": "size and time of the file are in the key",
    "patches.comments": "pure",
    "patches.patch.parse": "pure",
    "patches.positions": "pure",
    "render.machine_config.base_of": "pure: cluster, role and bundle are in the key",
    "render.manifests._objects": "pure",
    "render.sources._plain": "pure",
    "secrets.bundles._check_bundle": "pure: the content is in the key",
    "secrets.bundles._check_encrypted": "pure: the content is in the key",
    "secrets.plain.hidden_lines": "pure",
}
# Module-level values that are no constants. Each with why.
STATE = {
    "base.this_run._process": "the one place: which run this process is of",
    "base.progress.logger": "Snakemake's own, by its name",
    "render.helm._Values": "PyYAML's own table of a class, filled where it is made",
    "base.merge._merger": "holds a strategy, and is not changed",
}
# What makes something that nobody can change.
_CONSTANTS = {"str", "int", "float", "bool", "bytes", "frozenset", "tuple", "Path"}
_CONSTANT_MAKERS = _CONSTANTS | {
    "re.compile", "getattr", "TypeVar", "ParamSpec", "Memo", "Noted", "MappingProxyType", "resolve",
    "is_dir", "timedelta", "uuid.UUID", "dict.fromkeys", "join", "format", "removesuffix",
    "PurePosixPath",
}  # fmt: skip
_CHANGING = {
    "add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem",
    "remove", "setdefault", "sort", "reverse", "update", "set",
}  # fmt: skip


def modules(directory: Path = PACKAGE) -> Iterator[tuple[str, ast.Module]]:
    for file in sorted(directory.rglob("*.py")):
        name = ".".join(file.relative_to(directory).with_suffix("").parts)
        if not name.startswith("program."):
            yield name, ast.parse(file.read_text(encoding="utf-8"))


def makers_of_constants() -> set[str]:
    """Frozen dataclasses, and functions that return one: what is made by them does not change."""
    frozen = {
        node.name
        for _, module in modules()
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef)
        and any(
            isinstance(one, ast.Call) and any(k.arg == "frozen" for k in one.keywords)
            for one in node.decorator_list
        )
    }
    returns = {
        node.name
        for _, module in modules()
        for node in module.body
        if isinstance(node, ast.FunctionDef)
        and isinstance(node.returns, ast.Name)
        and node.returns.id in frozen | _CONSTANTS
    }
    return frozen | returns


def assigned(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    """Names that a module or a class binds to values."""
    for statement in body:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        yield name.id, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            if isinstance(statement.target, ast.Name):
                yield statement.target.id, statement.value
        elif isinstance(statement, ast.If | ast.Try | ast.With | ast.For):
            yield from assigned(statement.body)


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}".removeprefix(".")
    return node.id if isinstance(node, ast.Name) else ""


def makes_state(value: ast.expr, frozen: set[str]) -> bool:
    """Whether an expression makes something that may change, other than a display."""
    for node in ast.walk(value):
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            if not {name, name.rpartition(".")[2]} & (_CONSTANT_MAKERS | frozen):
                return True
    return False


def is_display(value: ast.expr) -> bool:
    """A list, a set or a mapping; constant only if nobody changes it."""
    displays = (ast.List, ast.Set, ast.Dict, ast.ListComp, ast.SetComp, ast.DictComp)
    return isinstance(value, displays)


def changed(module: ast.Module) -> Iterator[str]:
    """The names on which a module calls what changes them, or whose items it sets."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in _CHANGING:
                yield dotted(node.func.value)
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.Delete):
            targets = [node.target] if isinstance(node, ast.AugAssign) else node.targets
            for target in targets:
                if isinstance(target, ast.Subscript):
                    yield dotted(target.value)
                elif isinstance(node, ast.AugAssign):
                    yield dotted(target)


def faults(name: str, module: ast.Module, frozen: set[str]) -> Iterator[str]:
    """What a module keeps that outlives a call."""
    touched = set(changed(module))
    bodies = [module.body, *(one.body for one in module.body if isinstance(one, ast.ClassDef))]
    for body in bodies:
        for variable, value in assigned(body):
            if is_display(value):
                if variable in touched or (body is module.body and not variable.isupper()):
                    yield f"{name}.{variable}"
            elif body is module.body and makes_state(value, frozen):
                yield f"{name}.{variable}"
    for node in ast.walk(module):
        if isinstance(node, ast.Global):
            yield from (f"{name}.{variable}" for variable in node.names)


def caches(name: str, module: ast.Module) -> Iterator[str]:
    """The functions of a module whose answers are cached for good."""
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef):
            for one in node.decorator_list:
                called = one.func if isinstance(one, ast.Call) else one
                if dotted(called).rpartition(".")[2] in ("cache", "lru_cache"):
                    yield f"{name}.{node.name}"


def test_no_module_keeps_state() -> None:
    frozen = makers_of_constants()
    found = {fault for name, module in modules() for fault in faults(name, module, frozen)}
    assert found == set(STATE)


def test_caches_that_outlive_a_run_are_of_pure_functions() -> None:
    found = {one for name, module in modules() for one in caches(name, module)}
    allowed = {one for one in found if one in CACHES or one.rpartition(".")[0] in CACHES}
    hint = "what a run remembers is a Memo (base/this_run.py); name here what is pure, with why"
    assert found == allowed, hint
    named = {one if one in CACHES else one.rpartition(".")[0] for one in allowed}
    assert named == set(CACHES)


@pytest.mark.parametrize(
    "code",
    [
        "_seen = set()",
        "_seen: set[str] = set()",
        "_seen = {}",
        "SEEN: list[str] = []\ndef f(): SEEN.append('x')",
        "SEEN = {}\ndef f(): SEEN['x'] = 1",
        "SEEN = {}\ndef f(): del SEEN['x']",
        "SEEN = []\ndef f():\n    global SEEN\n    SEEN = [1]",
        "_lock = threading.Lock()",
        "_told = Event()",
        "if True:\n    _seen = set()",
        "class A:\n    seen = {}\ndef f(): seen['x'] = 1",
        "_count = 0\ndef f():\n    global _count\n    _count += 1",
    ],
)
def test_what_is_found(code: str) -> None:
    assert list(faults("m", ast.parse(code), set()))


@pytest.mark.parametrize(
    "code",
    [
        "_NEEDS = {'auto': 'x'}",
        "_RE = re.compile('x')",
        "A = frozenset(('a',))",
        "B = Tool('a', Path('b'))",
        "_decrypted: Memo[bytes, bytes] = Memo('x')",
        "def f():\n    seen = set()\n    seen.add(1)",
    ],
)
def test_what_is_constant(code: str) -> None:
    assert not list(faults("m", ast.parse(code), {"Tool"}))


MEMO: Memo[str, int] = Memo("a number")
OTHER: Memo[str, int] = Memo("another number")
NOTED: Noted[str] = Noted("a name")


def test_a_question_is_asked_once_a_run() -> None:
    asked = iter((1, 2, 3))
    assert [MEMO.of("a", lambda: next(asked)) for _ in range(3)] == [1, 1, 1]
    assert OTHER.of("a", lambda: next(asked)) == 2
    assert "a" in MEMO
    assert "b" not in MEMO
    this_run.begin()
    assert "a" not in MEMO
    assert MEMO.of("a", lambda: next(asked)) == 3


def test_an_answer_can_be_another_one() -> None:
    MEMO.put("a", 1)
    assert MEMO.of("a", lambda: 2) == 1
    MEMO.forget("a")
    assert MEMO.of("a", lambda: 2) == 2


def test_what_a_run_remembers_is_not_in_its_text() -> None:
    """Secrets are among it."""
    Memo[str, str]("a question").of("k3y-of-secret", lambda: "s3cret")
    assert "s3cret" not in repr(this_run.current())
    assert "k3y-of-secret" not in repr(this_run.current())


def test_a_failure_is_not_kept() -> None:
    def fails() -> int:
        raise ValueError("no answer")

    for _ in range(2):
        with pytest.raises(ValueError, match="no answer"):
            MEMO.of("a", fails)
    assert MEMO.of("a", lambda: 1) == 1


def test_what_asks_may_ask_itself() -> None:
    assert MEMO.of("a", lambda: MEMO.of("b", lambda: 1) + OTHER.of("a", lambda: 1)) == 2


def test_of_several_threads_one_asks() -> None:
    asked, both = [], threading.Barrier(2)

    def ask() -> int:
        asked.append(1)
        time.sleep(0.02)  # the other one finds no answer yet
        return len(asked)

    def of(key: str) -> int:
        both.wait(10)
        return MEMO.of(key, ask)

    with ThreadPoolExecutor(2) as pool:
        for number in range(5):
            one, other = pool.map(of, [f"{number}"] * 2)
            assert one == other == number + 1


def test_threads_do_not_wait_for_what_another_asks() -> None:
    """Two files are decrypted at once."""
    both = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        answers = pool.map(lambda key: MEMO.of(key, lambda: both.wait(10)), "ab")
        assert sorted(answers) == [0, 1]


def test_what_is_noted_is_new_once() -> None:
    assert [NOTED.add("a"), NOTED.add("a"), NOTED.add("b")] == [True, False, True]
    assert "a" in NOTED
    this_run.begin()
    assert "a" not in NOTED
