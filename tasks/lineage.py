"""OpenLineage events: which run of which job read and wrote which data, for a catalogue of lineage.

They are sent when OPENLINEAGE_URL names a receiver, or OPENLINEAGE_CONFIG or OPENLINEAGE__TRANSPORT__TYPE another
transport of the client, such as a file. Otherwise nothing of the client is imported. Whatever goes wrong with an event
is a warning, and the run goes on.

Source of the names of data: https://openlineage.io/docs/spec/naming
"""

import os
import re
import uuid
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import wraps
from threading import Thread
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from sqlalchemy import make_url

from linear_neuron.tasks.dataset.boston import FILE, dataset_file
from linear_neuron.tasks.dataset.rows import SUFFIX, Snapshot
from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.monitoring.performance import Entry
from linear_neuron.tasks.monitoring.record import NewActuals
from linear_neuron.tasks.name import UNNAMED, entitle
from linear_neuron.tasks.parameters import Dataset
from linear_neuron.tasks.registry.versions import version_folder
from linear_neuron.tasks.scoring.manifest import BatchRun, Manifest
from linear_neuron.tasks.scoring.plan import name_query
from linear_neuron.tasks.steps import get_logger, is_recorded
from linear_neuron.tasks.storage.store import Store, locate
from linear_neuron.tasks.tables.sql import PREFIX, find_address

if TYPE_CHECKING:
    from openlineage.client import OpenLineageClient
    from openlineage.client.event_v2 import RunEvent

P = ParamSpec("P")
R = TypeVar("R")

URL = "OPENLINEAGE_URL"
SETTINGS = ("OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT", "OPENLINEAGE__TRANSPORT__TYPE", URL)  # the first one counts
PRODUCER = "urn:linear-neuron"
SECONDS = 5  # that a receiver has for an event
MOST = 100  # files of a batch up to which each is named, besides the batch's folder
NUMBER, LABEL, TIME = "double", "string", "timestamp"
TYPES = {"number": NUMBER, "category": LABEL, "time": TIME}
SECRETS = re.compile(r"(?<=://)[^/\s@]+@|(?<=[\w/])\?[^\s'\")]+")  # user and password of a URL, and its query


@dataclass(frozen=True)
class Data:
    """A file, a folder or a table that a run reads or writes."""

    place: tuple[str, str]  # namespace and name
    columns: dict[str, str]  # name -> type
    rows: int | None
    size: int | None = None  # bytes


@dataclass
class Lineage:
    """What is known of a run and its data so far."""

    job: str
    run: str  # UUID
    inputs: list[Data] = field(default_factory=list)
    outputs: list[Data] = field(default_factory=list)
    client: "OpenLineageClient | None" = None
    warned: bool = False  # that the receiver did not take an event


CURRENT: ContextVar[Lineage | None] = ContextVar("lineage", default=None)


def trace(flow: Callable[P, R]) -> Callable[P, R]:
    """Send an event when the flow starts, and one with its data when it is complete, has failed or is ended."""

    @wraps(flow)
    def traced(*args: P.args, **kwargs: P.kwargs) -> R:
        # Prefect pickles this function for workers of Dask with all that it names, and no ContextVar can be pickled.
        return _run(flow, *args, **kwargs)

    return traced


def _run(flow: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    if not _is_wanted():
        return flow(*args, **kwargs)
    lineage = Lineage(entitle(flow.__name__, "."), _find_run())
    token = CURRENT.set(lineage)
    try:
        _emit(lineage, "START")
        result = flow(*args, **kwargs)
    except BaseException as error:
        _emit(lineage, "FAIL" if isinstance(error, Exception) else "ABORT", error)
        raise
    finally:
        CURRENT.reset(token)
    _emit(lineage, "COMPLETE")
    return result


def note(function: Callable[Concatenate[Lineage, P], None]) -> Callable[P, None]:
    """Make a function that adds data to the events of the run, and does nothing where there are none."""

    @wraps(function)
    def noted(*args: P.args, **kwargs: P.kwargs) -> None:
        if lineage := CURRENT.get():
            try:
                function(lineage, *args, **kwargs)
            except Exception as error:  # noqa: BLE001, such as of a secret that the server does not give
                get_logger().warning("The lineage events lack data of this run: %s", _say(error))

    return noted


@note
def note_table(lineage: Lineage, dataset: Dataset, snapshot: Snapshot) -> None:
    """Add the table that was read, and its snapshot, which holds the rows to learn from."""
    columns = {column.name: NUMBER for column in snapshot.columns}
    columns |= {name: LABEL for name in (dataset.key, *snapshot.labels) if name}
    columns |= {name: TIME for name in (dataset.time, *snapshot.time_columns) if name}
    rows, source = len(snapshot.values), dataset.source if dataset.is_own else FILE.url
    lineage.inputs.append(Data(name_data(source, dataset.connection), columns, rows))
    if dataset.is_own:
        kept = dataset_file(Store(), snapshot.origin.sha256, SUFFIX)
        lineage.outputs.append(Data(name_data(str(kept)), columns, rows))


@note
def note_version(lineage: Lineage, model: ModelVersion) -> None:
    """Add the version that was published."""
    lineage.outputs.append(_describe_version(model))


@note
def note_batch(lineage: Lineage, manifest: Manifest, batch_run: BatchRun) -> None:
    """Add the files that the run was asked for, the version and the predictions; of many files the folder alone."""
    asked, batch = manifest.of_last_run(), batch_run.batch
    columns = _list_columns(batch_run.model) | ({batch.key: LABEL} if batch.key else {})
    added = columns | {name: str(kind).lower() for name, kind in batch_run.added.items()}
    lineage.inputs.append(_describe_version(batch_run.model))
    lineage.outputs.append(Data(name_data(batch_run.location), added, asked.total.predicted))
    if batch.into:
        lineage.outputs.append(Data(_name_table(batch.connection, batch.into), added, asked.total.predicted))
    for result in asked.inputs:
        place = name_data(result.source.identity)
        lineage.inputs.append(Data(place, columns, result.rows, result.source.size))
        rows = result.predicted if len(result.predictions) == 1 else None  # Each of several parts has some of them.
        for name in result.predictions if len(asked.inputs) <= MOST else []:
            place = name_data(f"{batch_run.location}/{name}")
            lineage.outputs.append(Data(place, added, rows, result.outputs[name].get("bytes")))


@note
def note_actuals(lineage: Lineage, entries: Iterable[Entry], new: NewActuals) -> None:
    """Add the files of actual values, the batches that they were matched with, and where both are kept."""
    actuals, kept, matched = new.actuals, 0, dict[str, int]()
    columns = {actuals.key: LABEL, actuals.target: NUMBER} | ({actuals.known_at: TIME} if actuals.known_at else {})
    for entry in entries:
        lineage.inputs.append(Data(name_data(entry.source, actuals.connection), columns, entry.rows))
        kept += entry.rows - entry.rejected
        for result in entry.results:
            matched[result.batch] = matched.get(result.batch, 0) + result.matched
    for batch, rows in matched.items():
        place = name_data(str(Store().root / "predictions" / batch))
        lineage.inputs.append(Data(place, {actuals.key: LABEL, "prediction": NUMBER}, rows))
    lineage.outputs.append(Data(name_data(new.location), columns | {"prediction": NUMBER}, kept))


def _describe_version(model: ModelVersion) -> Data:
    place = name_data(str(version_folder(Store(), model.version)))
    return Data(place, _list_columns(model) | {model.target: NUMBER}, None)


def _list_columns(model: ModelVersion) -> dict[str, str]:
    return {name: TYPES[kind] for name, kind in model.kinds.items()}


def name_data(source: str, connection: str = "") -> tuple[str, str]:
    """Name a path, a URL or a query as OpenLineage does: namespace and name, without user, password and query string.

    Raises:
        UserError: it is a query whose file or whose connection is gone.
    """
    if source.startswith(PREFIX):
        origin = name_query(source, connection).origin if connection else source
        connection, _, name = origin.removeprefix(PREFIX).partition("/")
        return _name_table(connection, name)
    if re.match("https?://", source):
        url = urlsplit(source)
        return f"{url.scheme}://{url.netloc.rpartition('@')[2]}", unquote(url.path).lstrip("/")
    path, is_url, rest = str(locate(source)).partition("://")
    bucket, _, key = rest.partition("/")
    return (f"{path}://{bucket}", key) if is_url else ("file", path)


def _name_table(connection: str, name: str) -> tuple[str, str]:
    """Name a table or a query of a database; where the database is a file, that file."""
    url = make_url(find_address(connection))
    if not url.drivername.startswith("postgres"):
        return "file", locate(url.database or "").path
    table = name if "." in name else f"public.{name}"
    return f"postgres://{url.host or 'localhost'}:{url.port or 5432}", f"{url.database}.{table}"


def _is_wanted() -> bool:
    """Whether events are to be sent; where they are and the client is missing, that is logged."""
    if not any(map(os.environ.get, SETTINGS)) or os.environ.get("OPENLINEAGE_DISABLED", "").lower() == "true":
        return False
    try:
        import openlineage.client  # noqa: F401
    except ImportError:
        get_logger().warning("Lineage events need one package more: pip install 'linear-neuron[lineage]'.")
        return False
    return True


def _find_run() -> str:
    if is_recorded():
        from prefect import runtime

        return str(runtime.flow_run.get_id())
    return str(uuid.uuid4())


def _say(error: BaseException) -> str:
    """Say what went wrong without a secret, which errors of libraries may have."""
    return SECRETS.sub("", str(error)) if isinstance(error, UserError) else type(error).__name__


def _emit(lineage: Lineage, state: str, error: BaseException | None = None) -> None:
    """Send an event; the first one that is not taken within some seconds is logged."""
    failed: list[Exception] = []

    def send() -> None:
        try:
            lineage.client = lineage.client or _connect()
            lineage.client.emit(_make_event(lineage, state, error))
        except Exception as problem:  # noqa: BLE001, whatever a transport raises must not end the run
            failed.append(problem)

    sending = Thread(target=send, daemon=True)  # A transport may try for longer than the run takes.
    sending.start()
    sending.join(SECONDS)
    if not lineage.warned and (failed or sending.is_alive()):
        lineage.warned = True
        status = getattr(getattr(failed[0], "response", None), "status_code", None) if failed else None
        reason = f"HTTP {status}" if status else _say(failed[0]) if failed else f"no answer in {SECONDS} s"
        get_logger().warning("A lineage event was not taken (%s); look at %s and its receiver.", reason, _choose())


def _choose() -> str:
    """Return the name of the setting that says where events go."""
    return next(filter(os.environ.get, SETTINGS))


def _connect() -> "OpenLineageClient":
    """Make the client: for OPENLINEAGE_URL without retries, which would take long, or else as its settings say."""
    from openlineage.client import OpenLineageClient
    from openlineage.client.transport.http import HttpConfig, HttpTransport, create_token_provider, get_session

    if _choose() != URL:
        return OpenLineageClient()
    url, session, key = urlsplit(os.environ[URL]), get_session(), os.environ.get("OPENLINEAGE_API_KEY")
    user, _, host = url.netloc.rpartition("@")
    if url.scheme not in ("http", "https") or not host:  # The client would show all of it.
        raise UserError("it must begin with http:// or https:// and a host")
    if user:  # The client logs the URL.
        name, _, password = user.partition(":")
        session.auth = (unquote(name), unquote(password))
    config = HttpConfig(
        url=urlunsplit(url._replace(netloc=host)),
        endpoint=os.environ.get("OPENLINEAGE_ENDPOINT") or "api/v1/lineage",
        timeout=SECONDS,
        auth=create_token_provider({"type": "api_key", "apiKey": key} if key else {}),
        session=session,
        retry={"total": 0},
    )
    return OpenLineageClient(transport=HttpTransport(config))


def _make_event(lineage: Lineage, state: str, error: BaseException | None) -> "RunEvent":
    from openlineage.client import event_v2 as events
    from openlineage.client import facet_v2 as facets

    schema, count = facets.schema_dataset, facets.input_statistics_input_dataset.InputStatisticsInputDatasetFacet
    count_output = facets.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet

    def describe(data: Data) -> dict[str, Any]:
        fields = [schema.SchemaDatasetFacetFields(name=name, type=kind) for name, kind in data.columns.items()]
        return {"schema": schema.SchemaDatasetFacet(fields=fields)}

    facets.set_producer(PRODUCER)
    run = events.Run(lineage.run)
    if error:
        run.facets = {"errorMessage": facets.error_message_run.ErrorMessageRunFacet(_say(error), "python")}
    return events.RunEvent(
        eventTime=datetime.now(UTC).isoformat(),
        producer=PRODUCER,
        run=run,
        job=events.Job(os.environ.get("OPENLINEAGE_NAMESPACE") or UNNAMED, lineage.job),
        eventType=events.RunState[state],
        inputs=[
            events.InputDataset(*it.place, {"inputStatistics": count(it.rows, it.size)}, facets=describe(it))
            for it in lineage.inputs
        ],
        outputs=[
            events.OutputDataset(*it.place, {"outputStatistics": count_output(it.rows, it.size)}, facets=describe(it))
            for it in lineage.outputs
        ],
    )
