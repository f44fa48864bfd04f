"""The one kind of failure that is the user's to mend."""


class UserError(Exception):
    """Something outside the program is wrong, and its message says in one sentence what it is and what to do.

    The command line prints the message and exits with status 2; a flow run fails with it as its state's message.
    """
