"""May this config be used? ``talosctl validate``, and lint."""
