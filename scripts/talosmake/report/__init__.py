"""Looking: what is so, what differs, and why."""
