"""The failures that the user can fix.

UserError                 the call, a file or the machine is wrong
├── WorkError             all of that is right, but the work failed
├── ChangedError          a file changed while it was read
├── DamagedError          a file of the store is not as it was written
├── StoreError            the store can't be read or written
└── UnavailableError      a store or an address does not answer now, but may later
"""


class UserError(Exception):
    """Something outside the program is wrong; the message names it and the fix in one sentence.

    The command line prints the message and exits with status 2; a flow run fails with it as its state's message.
    """


class WorkError(UserError):
    """The work was tried and failed; the command line exits with status 1."""


class ChangedError(UserError):
    """A file changed while it was read, so nothing of it is used; the next run reads it again."""

    def __init__(self) -> None:
        super().__init__("it changed while it was being read; run the batch again")


class DamagedError(UserError):
    """A file of the store is not as it was written: truncated, changed, missing or a folder."""


class StoreError(UserError):
    """The disk or bucket of the store can't be read or written; the user's files are not the cause."""


class UnavailableError(UserError):
    """Something on the network did not answer as it should; a task that declares retries tries again."""
