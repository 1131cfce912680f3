"""One file a family of optimisers."""
