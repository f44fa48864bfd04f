"""Commands, and the process that trains, look for garbage rarely."""

import subprocess
import sys

CODE = """
import atexit, gc
atexit.register(lambda: print(gc.get_freeze_count() > 1000))  # It runs last.
from linear_neuron.tasks.process import OBJECTS, collect_rarely
collect_rarely()
print(gc.get_threshold()[0] == OBJECTS, gc.get_freeze_count())
"""


def test_garbage_is_looked_for_rarely_and_not_at_the_end() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["True 0", "True"]
