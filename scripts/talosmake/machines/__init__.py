"""The machines are there: virtual machines, lab nodes and simulated nodes."""
