"""What is measured during training; one file a recorder or a few that share a pass."""
