"""The error that a user can mend: the command line prints its one line and exits with status 2."""


class UserError(Exception):
    """Something the user can put right, said in one line."""
