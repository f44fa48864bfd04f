"""What the command line says of a call that it cannot follow: the flag, the rule, the value, in one line."""

from difflib import SequenceMatcher

from cyclopts import ConsumeMultipleError, UnknownOptionError
from pydantic import ValidationError

from linear_neuron.tasks.features.expressions import TermError
from linear_neuron.tasks.parameters import Actuals, Batch, Period
from linear_neuron.tasks.text import describe_rule, plural

LIKE = 0.6  # from 0 to 1: how alike two flags are of which one may be a mistyped other

BARE = (Actuals.__name__, Batch.__name__, Period.__name__)  # groups whose flags have no prefix


def explain(error: Exception) -> str:
    """Say in one line what is wrong; of a value that broke a parameter's rule the flag, the rule and the value.

    Below the sentence about a term is its text, with a caret at the position.
    """
    if isinstance(rules := error.__cause__, ValidationError):
        group = "" if rules.title in BARE else f"{rules.title.lower()}."
        message = [
            f"--{group}{str(rule['loc'][0]).strip('_').replace('_', '-')}: {describe_rule(rule)}"
            for rule in rules.errors()
        ]
        return "; ".join(message) + "."
    if isinstance(error, TermError):
        return str(error)  # Its lines show a position.
    if isinstance(error, ConsumeMultipleError) and error.argument is not None:
        return f"{error.keyword or error.argument.name}: needs {plural(error.min_required, 'value')} or more."
    text = " ".join(str(error).split())
    if isinstance(error, UnknownOptionError):
        return _suggest(text)
    return text


def _suggest(text: str) -> str:
    """Keep cyclopts' guess of what was meant only where it looks like what was typed, and say where the options are."""
    known, mark, guess = text.partition(" Did you mean ")
    typed = known.split(": ", 1)[-1].partition(". ")[0].strip("-.")
    if mark and SequenceMatcher(None, typed, guess.strip("-?.")).ratio() >= LIKE:
        return text
    return f"{known.rstrip('.')}. `linear-neuron COMMAND --help` lists the options of a command."
