"""Talosmake's own code: from layered patches and encrypted secrets to running Talos nodes.

The Snakemake rules in ``rules/`` say what depends on what; the modules here do the work.
Pure modules (no files, processes or network): ``errors``, ``model``, ``inject``, ``patches``,
``redact``, ``vm_model``, ``vm_xml``, ``vm_plan``, ``schematic``. Each external program is called
from exactly one module: ``talosctl``, ``sops``, ``age``, ``simulator``; libvirt from
``hypervisor``.
"""
