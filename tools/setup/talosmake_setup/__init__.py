"""Set-up, with the standard library only; ``python3 tools/setup`` runs it."""
