"""Which versions predict a batch."""

from tasks.errors import UserError
from tasks.model import ModelVersion
from tasks.parameters import Batch
from tasks.registry.catalogue import find_champion
from tasks.registry.versions import read_version
from tasks.scoring.expression import find_means
from tasks.storage.store import Store


def find_model(store: Store, batch: Batch) -> ModelVersion:
    """Find the version that predicts.

    Raises:
        UserError: there is none, or it can't do what is asked.
    """
    if batch.model and batch.as_of:
        raise UserError("Name a version by --model or a day by --as-of, and not both.")
    model = read_version(store, batch.model or find_champion(store, batch.as_of))
    if unknown := [name for name in batch.mapping if name not in model.features]:
        raise UserError(
            f"--columns names {', '.join(unknown)}, which {model.version} does not read; "
            f"it reads {', '.join(model.features)}."
        )
    if batch.explain != "none":
        find_means(model)
    return model
