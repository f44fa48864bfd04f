"""Python's search for garbage, which is put off in commands and in the process that trains."""

import atexit
import gc

OBJECTS = 100_000  # made since the last search before the next one; Python's own number is 700 (2,000 since 3.13)


def collect_rarely() -> None:
    """Look for garbage rarely, and not at the end.

    Imports make many objects and hardly any garbage, and what is left at the end goes with the process. A quarter of
    the time of `predict` with a small file was spent on looking.
    """
    gc.set_threshold(OBJECTS)
    atexit.register(gc.freeze)
