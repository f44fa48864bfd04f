"""The model in a notebook, which `import linear_neuron` gives: `Store`, `load_champion` and `predict`."""

import textwrap
from dataclasses import dataclass

from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.registry.catalogue import find_champion
from linear_neuron.tasks.registry.versions import read_version
from linear_neuron.tasks.scoring.frames import Frame, explain_frame, predict_frame
from linear_neuron.tasks.storage.store import Store

__all__ = ["Champion", "Store", "load_champion", "predict"]


@dataclass(frozen=True, repr=False)
class Champion:
    """The version that serves, ready to predict frames of pandas and of Polars."""

    model: ModelVersion

    def __repr__(self) -> str:
        return f"Champion({self.model.version}: {textwrap.shorten(self.model.formula, 80, placeholder=' ...')})"

    def predict(self, frame: Frame, interval: int = 90) -> Frame:
        """Predict the rows of a frame.

        Args:
            frame: Rows with the columns that the model reads: numbers, categories, booleans and times, or text that is
                one of them; other columns do no harm.
            interval: Percent of the actual values that the interval should hold, from 50 to 99.

        Returns:
            A frame of the same kind, and with the same index, of `prediction`, `prediction_low`, `prediction_high` and
            `extrapolated`. The numbers are those of `linear-neuron predict`, bit for bit; a rejected row has null.

        Raises:
            UserError: a column is missing, occurs twice, or holds neither numbers nor text.
        """
        return predict_frame(self.model, frame, interval)

    def contributions(self, frame: Frame) -> Frame:
        """Tell what each term adds to the prediction of each row.

        Returns:
            A frame of the same kind, and with the same index, of `base_prediction`, which is the prediction at the
            training means, and for each term `contribution_NAME`: of a number its weight times (value - training mean),
            of a category that of the level. The sum of a row is its prediction, or the product where the logarithm of
            the target is learned; a row that can't be predicted has null.

        Raises:
            UserError: as `predict`; or the version does not know its training means, as older ones do not.
        """
        return explain_frame(self.model, frame)


def load_champion(store: Store | None = None) -> Champion:
    """Load the version that serves, from a store or from that of LINEAR_NEURON_STORE.

    Raises:
        UserError: there is none, or it is damaged.
    """
    store = store or Store()
    return Champion(read_version(store, find_champion(store)))


def predict(frame: Frame, store: Store | None = None, interval: int = 90) -> Frame:
    """Predict the rows of a frame with the version that serves, as `Champion.predict` does; each call reads the store.

    Raises:
        UserError: as `load_champion` and `Champion.predict`.
    """
    return load_champion(store).predict(frame, interval)
