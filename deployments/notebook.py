"""The model in a notebook: `Store`, `load_champion`, and what that returns can `predict` and tell `contributions`."""

from dataclasses import dataclass

from tasks.model import ModelVersion
from tasks.registry.catalogue import find_champion
from tasks.registry.versions import read_version
from tasks.scoring.frames import Frame, explain_frame, predict_frame
from tasks.storage.store import Store

__all__ = ["Champion", "Store", "load_champion"]


@dataclass(frozen=True)
class Champion:
    """The version that serves, ready to predict frames of pandas and of Polars."""

    model: ModelVersion

    def predict(self, frame: Frame, interval: int = 90) -> Frame:
        """Predict the rows of a frame.

        Args:
            frame: Rows with a column for each feature, of numbers or of text that is one; other columns do no harm.
            interval: Percent of the true values that the interval should hold, from 50 to 99.

        Returns:
            A frame of the same kind, and with the same index, of `prediction`, `prediction_low`, `prediction_high` and
            `extrapolated`. The numbers are those of `linear-neuron predict` to the bit; a row that it rejects has null.

        Raises:
            UserError: a column is missing, stands twice, or holds neither numbers nor text.
        """
        return predict_frame(self.model, frame, interval)

    def contributions(self, frame: Frame) -> Frame:
        """Tell what each feature adds to the prediction of each row.

        Returns:
            A frame of the same kind, and with the same index, of `base_prediction`, which is the prediction at the
            training means, and for each feature `contribution_NAME`, its weight times (value - training mean). The sum
            of a row is its prediction; a row that can't be predicted has null.

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
