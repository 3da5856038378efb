"""Where trainings run: worker processes on this machine, or the nodes of a cluster."""
