"""Which versions predict a batch."""

from tasks.errors import UserError
from tasks.model import ModelVersion
from tasks.parameters import Batch
from tasks.registry.catalogue import find_champion
from tasks.registry.versions import read_version
from tasks.scoring.expression import find_means
from tasks.storage.store import Store


def find_models(store: Store, batch: Batch) -> tuple[ModelVersion, ModelVersion | None]:
    """Find the version that predicts, and its shadow if there is to be one.

    Raises:
        UserError: there is none, or it can't do what is asked.
    """
    if batch.model and batch.as_of:
        raise UserError("Name a version by --model or a day by --as-of, and not both.")
    model = read_version(store, batch.model or find_champion(store, batch.as_of))
    shadow = _find_shadow(store, batch, model)
    features = list(dict.fromkeys([*model.features, *(shadow.features if shadow else [])]))
    if unknown := [name for name in batch.mapping if name not in features]:
        readers = f"{model.version} does not read; it reads" if not shadow else "neither version reads; they read"
        raise UserError(f"--columns names {', '.join(unknown)}, which {readers} {', '.join(features)}.")
    if batch.explain != "none":
        find_means(model)
    return model, shadow


def _find_shadow(store: Store, batch: Batch, model: ModelVersion) -> ModelVersion | None:
    if not batch.shadow:
        if "shadow" in batch.add:
            raise UserError("--add shadow needs a version that predicts beside the model; name one by --shadow.")
        return None
    shadow = read_version(store, batch.shadow)
    if shadow.target != model.target:
        raise UserError(
            f"The shadow {shadow.version} predicts {shadow.target} and {model.version} {model.target}, so they can't "
            "be compared; name another by --shadow."
        )
    return shadow
