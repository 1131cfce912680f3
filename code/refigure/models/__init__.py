"""Architectures, one file each, written once for one network or many (see `layers`)."""
