"""Handing over what was reviewed."""
