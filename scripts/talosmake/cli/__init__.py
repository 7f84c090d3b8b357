"""The ``talosmake`` command: each target by its name, and a repository of one's own."""
