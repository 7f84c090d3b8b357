"""What does Git say? Environments, nodes and their facts, read from files and checked."""
