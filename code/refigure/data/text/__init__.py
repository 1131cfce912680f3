"""Documents, characters and words."""
