"""The failures that are the user's to mend.

UserError                 the call, a file or the machine is wrong
└── UnavailableError      a store or an address that may answer when it is asked again
"""


class UserError(Exception):
    """Something outside the program is wrong, and its message says in one sentence what it is and what to do.

    The command line prints the message and exits with status 2; a flow run fails with it as its state's message.
    """


class UnavailableError(UserError):
    """Something on the network did not answer as it should; a task that declares retries tries again."""
