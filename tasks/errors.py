"""The failures that are the user's to mend.

UserError                 the call, a file or the machine is wrong
├── WorkError             all of that is right, and yet the work did not succeed
├── ChangedError          a file changed while it was read
├── StoreError            the store refuses to read or to write
└── UnavailableError      a store or an address that may answer when it is asked again
"""


class UserError(Exception):
    """Something outside the program is wrong, and its message says in one sentence what it is and what to do.

    The command line prints the message and exits with status 2; a flow run fails with it as its state's message.
    """


class WorkError(UserError):
    """What was asked for was tried and failed: the command line exits with status 1."""


class ChangedError(UserError):
    """A file changed while it was read, so that nothing of it may be used; the next run reads it anew."""

    def __init__(self) -> None:
        super().__init__("it changed while it was being read; run the batch again")


class StoreError(UserError):
    """The disk or bucket of the store refuses; no file of the user's is to blame."""


class UnavailableError(UserError):
    """Something on the network did not answer as it should; a task that declares retries tries again."""
