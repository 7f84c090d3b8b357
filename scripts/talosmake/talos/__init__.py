"""The only package that calls talosctl: what nodes are, do and answer."""
