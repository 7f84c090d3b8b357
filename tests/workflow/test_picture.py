"""The picture of an environment, as Snakemake says how its steps are."""

from __future__ import annotations

from tests.project import Project

ENV = ("--config", "env=dev")


def test_from_nothing_to_a_failure(dev: Project) -> None:
    shown = dev.ok("dag", *ENV)
    assert "rendered_configs/dev/dag.svg (and .mmd): 17 to run" in shown.output
    assert shown.jobs == {"dag"}
    assert not (dev.root / "rendered_configs/dev/talosconfig").exists()

    dev.ok("validate", *ENV)
    assert "dag.svg (and .mmd): 6 to run, 11 fresh" in dev.ok("dag", *ENV).output

    dev.patch("dev", "workers", "worker_1", "machine: {netwrok: {}}\n")
    dev.fails("validate", *ENV)
    dev.ok("dag", *ENV)
    mermaid = dev.read("rendered_configs/dev/dag.mmd")
    assert "✗ render<br/>worker_1" in mermaid
    assert "✓ render<br/>worker_2" in mermaid
    svg = dev.read("rendered_configs/dev/dag.svg")
    assert "<title>worker_1: render: failed</title>" in svg


def test_snakemakes_own_graphs_are_still_there(dev: Project) -> None:
    for option in ("--dag", "--rulegraph"):
        run = dev.run(*dev.command("-n", option, *ENV))
        assert run.code == 0
        assert "digraph snakemake_dag {" in run.output
        assert "render_config" in run.output
