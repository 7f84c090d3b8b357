"""What the pipelines of examples/ do with secrets, and what init writes of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from talosmake.base.errors import ConfigError
from talosmake.cli import pipelines
from tests.docs.pages import blocks
from tests.project import BIN, REPOSITORY, files_below

_GITLAB = yaml.safe_load((REPOSITORY / "examples/gitlab-ci.yml").read_text())


def _github(name: str) -> Mapping[str, Any]:
    """The one job of a workflow."""
    text = (REPOSITORY / f"examples/github/{name}.yml").read_text()
    [job] = yaml.safe_load(text)["jobs"].values()
    assert isinstance(job, dict)
    return job


def _commands(name: str) -> dict[str, str]:
    """What a job runs, by the host of the pipeline."""
    steps = _github(name)["steps"]
    return {
        "GitHub": "\n".join(step.get("run", "") for step in steps),
        "GitLab": "\n".join(_GITLAB[name]["script"]),
    }


@pytest.mark.parametrize("host", ["GitHub", "GitLab"])
def test_pull_request_is_searched_for_secrets(host: str) -> None:
    base = {"GitHub": "$BASE", "GitLab": "$CI_MERGE_REQUEST_DIFF_BASE_SHA"}[host]
    check = ".venv/bin/talosmake check_secrets"
    lines = _commands("check")[host].splitlines()
    assert check in lines
    assert f'{check} --commits "{base}..HEAD"' in lines


_SET_UP = (
    "python3 -m venv .venv",
    ".venv/bin/pip install -r requirements.txt",
    ".venv/bin/talosmake setup",
)


@pytest.mark.parametrize("name", ["artifact", "check", "deploy", "drift"])
@pytest.mark.parametrize("host", ["GitHub", "GitLab"])
def test_pinned_version_is_set_up_before_it_runs(host: str, name: str) -> None:
    commands = _commands(name)[host]
    if host == "GitLab":
        commands = "\n".join([*_GITLAB["default"]["before_script"], commands])
    lines = commands.splitlines()
    first = next(number for number, line in enumerate(lines) if ".venv/bin/snakemake" in line)
    assert [line for line in lines[:first] if line in _SET_UP] == list(_SET_UP)
    if name == "check":
        # The base has the version that it pins.
        _, _, base = commands.partition("cd ../base")
        places = [base.index(part) for part in (*_SET_UP, ".venv/bin/snakemake")]
        assert places == sorted(places)


@pytest.mark.parametrize("path", ["github/check.yml", "gitlab-ci.yml"])
def test_programs_are_those_that_an_installed_talosmake_brings(path: str) -> None:
    """A repository with data only has no scripts/, no tools/ and no Makefile."""
    text = (REPOSITORY / "examples" / path).read_text()
    assert not re.search(r"\bmake \w|scripts/|tools/", text)
    modules = re.findall(r"python -m (talosmake[\w.]+)", text)
    assert modules == ["talosmake.artifact.diff"]
    for module in modules:
        assert (REPOSITORY / "scripts" / f"{module.replace('.', '/')}.py").is_file()


@pytest.mark.parametrize("ci", ["github", "gitlab", "none"])
def test_init_writes_the_pipelines(ci: str) -> None:
    written = pipelines.files(ci)
    names = ("artifact", "check", "deploy", "drift")
    sources = {
        "github": {f".github/workflows/{name}.yml": f"github/{name}.yml" for name in names},
        "gitlab": {".gitlab-ci.yml": "gitlab-ci.yml"},
        "none": {},
    }[ci]
    assert set(written) == set(sources)
    for path, source in sources.items():
        assert written[path] == (REPOSITORY / "examples" / source).read_text()


BELOW = PurePosixPath("kubernetes/talos")


def _jobs(workflow: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from workflow["jobs"].values()


def test_github_below_a_larger_repository(tmp_path: Path) -> None:
    written = pipelines.files("github", BELOW)
    names = ("artifact", "check", "deploy", "drift")
    prefix = "kubernetes-talos-"
    assert set(written) == {f".github/workflows/{prefix}{name}.yml" for name in names}
    for path, text in written.items():
        name = Path(path).stem
        workflow = yaml.safe_load(text)
        own = yaml.safe_load(
            (REPOSITORY / f"examples/github/{name[len(prefix) :]}.yml").read_text()
        )
        # Told from workflows of the same names that the larger repository has.
        assert workflow["name"] == name
        if "concurrency" in own:
            group = own["concurrency"]["group"]
            assert workflow["concurrency"]["group"] == f"{prefix}{group}"
        for job, before in zip(_jobs(workflow), _jobs(own), strict=True):
            assert job["defaults"] == {"run": {"working-directory": "kubernetes/talos"}}
            assert len(job["steps"]) == len(before["steps"])
        assert not re.search(rf"(?<!{prefix})\b({'|'.join(names)})\.yml", text)
        # What runs in no directory of ours names it.
        [step] = [one for job in _jobs(workflow) for one in job["steps"] if "cache" in str(one)]
        assert step["with"]["key"] == (
            "talosmake-${{ runner.os }}-${{ hashFiles('kubernetes/talos/requirements.txt') }}-"
            "${{ hashFiles('kubernetes/talos/patches/envs/**/cluster.env') }}"
        )
        assert step["with"]["key"].startswith(step["with"]["restore-keys"])
        assert not re.search(r"path: rendered_configs|['\" ]\.\./base", text)
        (tmp_path / f"{name}.yml").write_text(text)
    artifact = yaml.safe_load(written[f".github/workflows/{prefix}artifact.yml"])
    [job] = _jobs(artifact)
    [upload] = [step for step in job["steps"] if "upload-artifact@" in step.get("uses", "")]
    assert upload["with"]["path"].startswith("kubernetes/talos/rendered_configs/")
    deploy = yaml.safe_load(written[f".github/workflows/{prefix}deploy.yml"])
    [job] = _jobs(deploy)
    [download] = [step for step in job["steps"] if "download-artifact@" in step.get("uses", "")]
    assert download["with"]["name"] == upload["with"]["name"]
    command = [BIN / "actionlint", *sorted(tmp_path.glob("*.yml"))]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


def test_gitlab_below_a_larger_repository(tmp_path: Path) -> None:
    [(path, text)] = pipelines.files("gitlab", BELOW).items()
    assert path == "kubernetes/talos/.gitlab-ci.yml"
    written = yaml.safe_load(text)
    go_there = "cd kubernetes/talos"
    assert written["default"]["before_script"][0] == go_there
    assert written["default"]["cache"]["key"]["files"] == ["kubernetes/talos/requirements.txt"]
    for name in ("check", "artifact", "deploy", "drift"):
        job = written[name]
        # It begins where the job does, in a shell of its own.
        assert job.get("after_script", [go_there])[0] == go_there
        for each in job.get("artifacts", {}).get("paths", []):
            assert each.startswith("kubernetes/talos/")
    (tmp_path / "ci.yml").write_text(text)
    schema = ("--builtin-schema", "vendor.gitlab-ci", tmp_path / "ci.yml")
    done = subprocess.run([BIN / "check-jsonschema", *schema], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("host", ["github", "gitlab"])
def test_base_of_a_pull_request_is_beside_the_whole_repository(host: str, tmp_path: Path) -> None:
    """Its commands with the way to the data are run, those that make something left out."""
    if host == "github":
        text = pipelines.files(host, BELOW)[".github/workflows/kubernetes-talos-check.yml"]
        [job] = _jobs(yaml.safe_load(text))
        lines = "\n".join(step.get("run", "") for step in job["steps"])
    else:
        [text] = pipelines.files(host, BELOW).values()
        lines = "\n".join(yaml.safe_load(text)["check"]["script"])
    repository = tmp_path / "repository"
    data = repository / BELOW
    data.mkdir(parents=True)
    (data / "Snakefile").touch()
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.com")
    for command in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-qm", "x")):
        subprocess.run(["git", *command], cwd=repository, check=True)
    kept = [line for line in lines.splitlines() if "worktree" in line or "cd " in line]
    assert len(kept) == 2, lines
    script = "\n".join(kept).replace(" &&", "") + "\npwd\ncat Snakefile\n"
    top = {"GITHUB_WORKSPACE": str(repository), "CI_PROJECT_DIR": str(repository)}
    base = {"BASE": "HEAD", "CI_MERGE_REQUEST_DIFF_BASE_SHA": "HEAD"}
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=data,
        env={**os.environ, **top, **base},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "base" / BELOW)
    [compared] = re.findall(r'"(\S+/base/\S+/\.check)"', lines)
    assert compared.endswith("/../base/kubernetes/talos/rendered_configs/.check")


@pytest.mark.parametrize("below", ["my data", "a'b", "-x", "a;b", "ä"])
@pytest.mark.parametrize("host", ["github", "gitlab"])
def test_directory_that_would_need_quotes_gets_no_pipeline(host: str, below: str) -> None:
    with pytest.raises(ConfigError) as error:
        pipelines.files(host, PurePosixPath(below))
    assert f"{below}: pipelines cannot name this directory" in error.value.message
    assert pipelines.files("none", PurePosixPath(below)) == {}


def test_copies_in_a_clone_are_set_up_by_make(tmp_path: Path) -> None:
    """As docs/ci.md says to make them."""
    (tmp_path / "examples").mkdir()
    shutil.copytree(REPOSITORY / "examples/github", tmp_path / "examples/github")
    (tmp_path / ".github/workflows").mkdir(parents=True)
    [block] = [
        block for block in blocks(REPOSITORY / "docs/ci.md") if block.text.startswith("cp examples")
    ]
    subprocess.run(["bash", "-euc", block.text], cwd=tmp_path, check=True)
    copies = sorted((tmp_path / ".github/workflows").glob("*.yml"))
    assert len(copies) == 4
    for path in copies:
        text = path.read_text()
        assert "make setup" in text
        assert not re.search(r"requirements\.txt|-m venv|talosmake setup", text)
        assert text.count(".venv/bin/python -m") == text.count("PYTHONPATH=scripts .venv/bin/py")
    done = subprocess.run([BIN / "actionlint", *copies], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


def test_project_itself_runs_all_tests_without_a_secret() -> None:
    [path] = (REPOSITORY / ".github/workflows").glob("*.yml")
    text = path.read_text()
    workflow = yaml.safe_load(text)
    # YAML 1.1 takes "on" for true.
    assert set(workflow[True]) == {"push", "pull_request"}
    assert workflow["permissions"] == {"contents": "read"}
    [job] = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert "secrets." not in text


def test_check_has_all_commits_of_a_pull_request() -> None:
    [checkout] = [step for step in _github("check")["steps"] if "checkout@" in step.get("uses", "")]
    assert checkout["with"]["fetch-depth"] == 0
    assert _GITLAB["variables"]["GIT_DEPTH"] == "0"


def _with_key() -> Iterator[tuple[str, str]]:
    """The jobs that have an age key, each by its host and name."""
    for path in sorted((REPOSITORY / "examples/github").glob("*.yml")):
        if "SOPS_AGE_KEY:" in path.read_text():
            yield "GitHub", path.stem
    for name, job in _GITLAB.items():
        if name not in ("default", "variables", "check") and "script" in job:
            yield "GitLab", name


def _last(host: str, name: str) -> str:
    """What a job runs at its end, however it went."""
    if host == "GitLab":
        return "\n".join(_GITLAB[name]["after_script"])
    last = _github(name)["steps"][-1]
    assert last["if"] == "always()"
    return str(last["run"])


def test_jobs_with_a_key_are_known() -> None:
    names = ["artifact", "deploy", "drift"]
    for host in ("GitHub", "GitLab"):
        assert sorted(name for of, name in _with_key() if of == host) == names


@pytest.mark.parametrize(("host", "name"), list(_with_key()))
def test_job_leaves_nothing_that_it_decrypted(host: str, name: str, tmp_path: Path) -> None:
    packed = "rendered_configs/prod/talos-prod-v1.2.0.tar.gz"
    rendered = ("worker-w_1.yaml", "talosconfig", "kubeconfig", "applied/worker-w_1.yaml")
    for path in (packed, *(f"rendered_configs/prod/{each}" for each in rendered), "README.md"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x")
    subprocess.run(["bash", "-euc", _last(host, name)], cwd=tmp_path, check=True)
    # GitLab takes the artifact from there only then.
    kept = {"README.md", *([packed] if (host, name) == ("GitLab", "artifact") else [])}
    assert {str(path.relative_to(tmp_path)) for path in files_below(tmp_path)} == kept


@pytest.mark.parametrize("host", ["GitHub", "GitLab"])
def test_only_what_was_committed_is_deployed(host: str) -> None:
    [command] = [line for line in _commands("deploy")[host].splitlines() if " deploy " in line]
    assert "strict=true" in command.split()
