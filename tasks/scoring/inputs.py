"""Which files a batch is to predict."""

from itertools import takewhile
from pathlib import PurePosixPath

from tasks.errors import UserError
from tasks.parameters import Batch
from tasks.scoring.manifest import leads_out
from tasks.steps import get_logger, is_deployed, task
from tasks.storage.store import Store, digest
from tasks.tables.contract import check_texts
from tasks.tables.inputs import KNOWN, InputFile, list_files, plural
from tasks.tables.sql import PREFIX, SQL_FILE, find_address, read_query, read_text


def find_sources(inputs: list[str]) -> tuple[str, list[InputFile]]:
    """Find the folder that all inputs share, and the files in order, each named by its path in it without the suffix.

    Raises:
        UserError: an input stands for nothing.
    """
    listed = [list_files(text) for text in inputs]
    levels = zip(*(location.split("/") for location, _ in listed), strict=False)
    root = "/".join(level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels))
    sources: dict[str, InputFile] = {}
    names: dict[str, str] = {}
    for source in sorted((source for _, files in listed for source in files), key=lambda source: source.path):
        name = KNOWN.sub("", source.path.removeprefix(f"{root}/").replace("://", "/"))
        error = source.error
        if names.setdefault(name, source.path) != source.path:
            error = f"its predictions would take the place of those of {names[name]}; rename one of them"
            name = PurePosixPath(source.path).name
        if leads_out(name):
            error, name = f"its predictions can't be called {name}; rename it or its folder", PurePosixPath(name).name
        sources.setdefault(source.path, source.model_copy(update={"name": name, "error": error}))
    return root, list(sources.values())


def save_query(store: Store, source: str, connection: str) -> str:
    """Run a query and save its rows as a CSV file in the store, which is then predicted like any other; return where.

    Raises:
        UserError: the query fails, or has no rows.
    """
    text = read_text(source)
    name = source.removeprefix(PREFIX).strip()
    stem = PurePosixPath(name).stem if SQL_FILE.fullmatch(name) else f"query-{digest(text.encode())[:8]}"
    path, rows = store.root / "queries" / f"{stem}.csv", 0
    with store.writing(path) as scratch, scratch.open("wb") as file:
        for number, table in enumerate(read_query(text, connection)):
            try:
                check_texts(table.schema, table.columns)
            except UserError as error:
                raise UserError(f"The query on {connection}: {error}; leave it out, or cast it to text.") from None
            table.write_csv(file, include_header=number == 0)
            rows += table.height
        if not rows:
            raise UserError(f"The query on {connection} returns no rows; there is nothing to predict.")
    get_logger().info("The query on %s returned %s", connection, plural(rows, "row"))
    return str(path)


@task("Find the inputs", retries=2, timeout_seconds=3600)
def find_inputs(batch: Batch) -> tuple[str, list[InputFile]]:
    """Find the folder that all inputs share, and the files to predict.

    Raises:
        UserError: there are none; a deployment's inbox may be empty.
    """
    if batch.into:
        find_address(batch.connection)  # Whether there is one is better known before than after all is predicted.
    names = [save_query(Store(), text, batch.connection) if text.startswith(PREFIX) else text for text in batch.inputs]
    queries = set(names) - set(batch.inputs)
    if twice := [name for name in queries if names.count(name) > 1]:
        raise UserError(f"Two of the queries are called {PurePosixPath(twice[0]).stem}; rename the file of one.")
    root, sources = find_sources(names)
    if not sources and not is_deployed():
        raise UserError(f"There is no file to predict in {', '.join(batch.inputs)}; put CSV or Parquet files there.")
    get_logger().info("Found %s, %.1f MB", plural(len(sources), "file"), sum(source.size for source in sources) / 1e6)
    return root, sources
