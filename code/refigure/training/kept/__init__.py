"""What runs leave behind: one file a kind, used by the packs that want it."""
