"""The program of a process that runs models one after another: imports are paid once, and Keras waits in between."""

import os
import pickle
import signal
import sys
import time
from contextlib import nullcontext, suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, cast

from linear_neuron.tasks.process import collect_rarely, watch_parent
from linear_neuron.tasks.training.training_process import keep_warm, warm_up

if TYPE_CHECKING:
    from prefect import Flow, State

    from linear_neuron.tasks.model_list.read_models import Entry, Kind

STOP_SECONDS = 8  # that a run has to report its end when the parent is gone


def serve(kind: "Kind", descriptor: int) -> None:
    """Run the flow of a kind for each model that the connection sends, and answer how it ended."""
    from prefect.context import SyncClientContext

    from linear_neuron.tasks.storage.files import remove_scratch

    flow = find_flow(kind)
    client = SyncClientContext.get_or_create() if "PREFECT_API_URL" in os.environ else nullcontext()
    with Connection(descriptor) as link, client, suppress(EOFError, BrokenPipeError):
        while True:
            model, context = link.recv()
            ended = run_model(flow, kind, model, context)
            remove_scratch()
            link.send(ended)


def find_flow(kind: "Kind") -> "Flow[..., Any]":
    """Import the flow of a kind."""
    if kind == "retrain":
        from linear_neuron.flows.retrain import retrain

        return retrain
    if kind == "predict":
        from linear_neuron.flows.predict import predict

        return predict
    from linear_neuron.flows.actuals import actuals

    return actuals


def run_model(flow: "Flow[..., Any]", kind: "Kind", model: "Entry", context: bytes) -> tuple[str, str]:
    """Run a flow for a model, as a part of the run that `context` is of; return its state's name, and why."""
    from prefect import tags
    from prefect.context import hydrated_context

    from linear_neuron.tasks.errors import UserError
    from linear_neuron.tasks.name import VARIABLE

    os.environ[VARIABLE] = model.name
    parameters = model.list_parameters(kind)
    try:
        if not context:
            flow.fn(**parameters)
            return "Completed", ""
        with hydrated_context(pickle.loads(context)), tags(model.name):  # noqa: S301, our parent made it
            state = cast("State[Any]", flow(**parameters, return_state=True))
    except Exception as error:  # noqa: BLE001, the next model runs whatever this one does
        return "Failed", str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    result = None if state.is_completed() else state.result(raise_on_failure=False)
    return state.name or "", str(result) if isinstance(result, UserError) else state.message or ""


def _end() -> None:
    """End this process as a stop would, and at once if that takes long."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends us.
    watch_parent(_end)
    collect_rarely()
    if sys.argv[1] == "retrain":
        keep_warm()
        warm_up()
    serve(sys.argv[1], int(sys.argv[2]))  # type: ignore[arg-type]
