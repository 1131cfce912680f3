"""What a user did wrong, in one line."""


class UserError(Exception):
    """A mistake in the configuration, a file or a command; its text is the one line a user sees."""
