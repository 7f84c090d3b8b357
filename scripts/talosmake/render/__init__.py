"""From layers to one machine config, and what else is made of Git alone."""
