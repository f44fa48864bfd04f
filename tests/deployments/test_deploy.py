"""Which deployments a server is to have, of models with names and of the one without."""

import asyncio
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

from linear_neuron.deployments.deploy import ALERT_BLOCK, PREFECT_FILE, compose, deploy, read_deployments, undeploy
from linear_neuron.deployments.pools import POOL
from linear_neuron.tasks.errors import UserError
from tests.deployments.helpers import Api, Webhook
from tests.helpers import Run

PASSWORD = "pa55word-of-nobody"  # noqa: S105
NAMES = ["weekly-retrain", "daily-predict", "daily-actuals", "promote", "rollback", "backtest"]


def names_of(configs: list[dict[str, Any]]) -> list[str]:
    return [config["name"] for config in configs]


def test_without_a_name_all_that_the_server_knows_are_deployed() -> None:
    known = {"sales.weekly-retrain": {"dataset": {"features": ["LSTAT"]}}, "x.other": {}, "Big.promote": {}}
    configs = compose(read_deployments(), known, "", {})
    assert names_of(configs) == [*NAMES, *(f"sales.{name}" for name in NAMES)]
    assert configs[len(NAMES)]["parameters"] == {"dataset": {"features": ["LSTAT"]}}


def test_with_a_name_only_its_own_are_deployed() -> None:
    assert names_of(compose(read_deployments(), {"rent.promote": {}}, "sales", {})) == [
        f"sales.{name}" for name in NAMES
    ]


def test_second_deployment_of_the_page_is_as_the_file_says(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "schedule.md").read_text()
    file = tmp_path / "prefect.yaml"
    file.write_text(PREFECT_FILE.read_text() + page.partition("```yaml\n")[2].partition("```")[0])
    known = {"sales.weekly-retrain": {"training": {"epochs": 1}}}
    configs = compose(read_deployments(file), known, "", {})
    assert names_of(configs) == [*NAMES, *(f"sales.{name}" for name in NAMES)]
    assert configs[len(NAMES)]["tags"] == ["linear-neuron", "sales"]
    own = {"source": "sales/*.parquet", "features": ["area", "rooms"], "target": "price"}
    assert configs[len(NAMES)]["parameters"] == {"dataset": own}
    assert configs[len(NAMES)]["schedules"] == [{"slug": "weekly", "cron": "0 5 * * MON", "timezone": "UTC"}]


@pytest.mark.parametrize("name", ["", "sales"])
def test_a_champion_starts_the_predictions_of_its_own_model(name: str) -> None:
    (predict,) = [config for config in compose(read_deployments(), {}, name, {}) if "daily-predict" in config["name"]]
    (trigger,) = predict["triggers"]
    assert trigger["match"]["prefect.resource.id"] == (
        "linear-neuron.champion.sales" if name else "linear-neuron.champion"
    )


HOSTILE = [
    "{{ $DATABASE_PASSWORD }}", "{{ x }}", "{{c}}", "{% if x %}", "{{ prefect.blocks.secret.warehouse }}",
    "{{ prefect.variables.y }}", "${HOME}", "a: b # c", "*anchor", "!!python/object:x", "'\"\\", "\u0444 \U0001f3e0",
]  # fmt: skip


@pytest.fixture
def run_deploy(run_cli: Run, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `linear-neuron` in a folder of files, with a secret in its environment."""
    settings = {"LINEAR_NEURON_FOLDER": str(tmp_path), "DATABASE_PASSWORD": "s3cret"}
    return lambda *arguments: run_cli(*arguments, **settings)


def test_braces_in_parameters_are_no_template(
    run_deploy: Callable[..., subprocess.CompletedProcess[str]], server: str
) -> None:
    query = "sql:SELECT '{{ $DATABASE_PASSWORD }}' AS a, '{{ x }}' AS b"
    table = ["--dataset.source", query, "--dataset.connection", "shop", "--dataset.target", "{{c}}"]
    done = run_deploy("deploy", "--name", "hostile", *table, "--dataset.features", *HOSTILE)
    assert done.returncode == 0, done.stderr
    dataset = Api(server).deployment("retrain/hostile.weekly-retrain")["parameters"]["dataset"]
    assert dataset == {"source": query, "connection": "shop", "target": "{{c}}", "features": HOSTILE}
    assert run_deploy("deploy").returncode == 0
    assert Api(server).deployment("retrain/hostile.weekly-retrain")["parameters"]["dataset"] == dataset
    assert run_deploy("undeploy", "--name", "hostile").returncode == 0


def test_parameters_in_the_file_are_no_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "s3cret")
    file = tmp_path / "prefect.yaml"
    file.write_text("deployments: [{name: x.y, parameters: {dataset: {target: '{{ $DATABASE_PASSWORD }}'}}}]")
    assert read_deployments(file)[0]["parameters"] == {"dataset": {"target": "{{ $DATABASE_PASSWORD }}"}}


def schedule_of(server: str, deployment: str) -> dict[str, Any]:
    (schedule,) = Api(server).deployment(deployment)["schedules"]
    return dict(schedule)


def test_a_schedule_stays_as_the_user_set_it(
    run_deploy: Callable[..., subprocess.CompletedProcess[str]], server: str
) -> None:
    crons = ["0 5 * * TUE", "daily-predict=30 6 * * *"]
    done = run_deploy("deploy", "--name", "rent", "--cron", *crons, "--timezone", "Europe/Berlin")
    assert done.returncode == 0, done.stderr
    weekly, daily, actuals = ("retrain/rent.weekly-retrain", "predict/rent.daily-predict", "actuals/rent.daily-actuals")
    expected = {"cron": "0 5 * * TUE", "timezone": "Europe/Berlin", "day_or": True}
    assert schedule_of(server, weekly)["schedule"] == expected
    assert schedule_of(server, daily)["schedule"]["cron"] == "30 6 * * *"
    assert schedule_of(server, actuals)["schedule"] == expected | {"cron": "0 8 * * *"}
    path = f"/deployments/{Api(server).deployment(actuals)['id']}/schedules/{schedule_of(server, actuals)['id']}"
    edited = {"interval": 3600.0, "anchor_date": "2026-11-30T00:00:00Z", "timezone": "UTC"}
    Api(server).ask("PATCH", path, schedule=edited, active=False)
    before = [schedule_of(server, name) for name in (weekly, daily, actuals)]
    assert run_deploy("deploy", "--name", "rent", "--training.epochs", "7").returncode == 0
    assert run_deploy("deploy").returncode == 0
    after = [schedule_of(server, name) for name in (weekly, daily, actuals)]
    assert [schedule["schedule"] for schedule in after] == [schedule["schedule"] for schedule in before]
    assert [schedule["active"] for schedule in after] == [True, True, False]
    assert run_deploy("deploy", "--name", "rent", "--timezone", "UTC").returncode == 0
    assert schedule_of(server, weekly)["schedule"] == expected | {"timezone": "UTC"}
    assert schedule_of(server, actuals)["schedule"]["interval"] == 3600.0
    removed = run_deploy("undeploy", "--name", "rent")
    assert removed.stdout.splitlines() == [f"removed rent.{name}" for name in sorted(NAMES)]
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        Api(server).deployment(weekly)
    again = run_deploy("undeploy", "--name", "rent")
    assert (again.returncode, again.stdout) == (2, "")
    assert "rent has no deployments; the models that have some: " in again.stderr


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--cron", "0 25 * * *"], "--cron '0 25 * * *': cron '0 25 * * *' in time zone 'UTC' is not a schedule"),
        (
            ["--cron", "promote=0 5 * * *"],
            "--cron: no deployment 'promote' has a schedule; choose from weekly-retrain, ",
        ),
        (["--timezone", "Mars/Olympus"], "time zone 'Mars/Olympus' is not a schedule"),
        (["--name", "sales", "--dataset.source", "none/*.csv"], "There is nothing at none/*.csv"),
        (
            ["--name", "sales", "--dataset.source", f"https://host/a.csv?id=3&X-Amz-Security-Token={PASSWORD}"],
            "https://host/a.csv?3a61b75b is a signed URL, whose signature no deployment keeps",
        ),
        (
            ["--name", "sales", "--inputs", f"https://host/a.csv?sv=1&sig={PASSWORD}"],
            "https://host/a.csv is a signed URL, whose signature no deployment keeps",
        ),
        (["--name", "a.b"], "A model can't have the name 'a.b'"),
        (["--name", "{{ $HOME }}"], "A model can't have the name '{{ $HOME }}'"),
    ],
)
def test_what_can_not_be_deployed_is_one_sentence(
    run_deploy: Callable[..., subprocess.CompletedProcess[str]], server: str, flags: list[str], sentence: str
) -> None:
    done = run_deploy("deploy", *flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert PASSWORD not in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def deployed(server: str) -> str:
    """The API of the server, which has the deployments without a name."""
    asyncio.run(deploy())
    return server


def list_database() -> list[Path]:
    """List the files of the server's database."""
    database = Path(urlsplit(PREFECT_API_DATABASE_CONNECTION_URL.value()).path)
    return list(database.parent.glob(f"{database.name}*"))


ADDRESS = f"https://reader:{PASSWORD}@files.example/a.csv"
SIGNED = f"https://files.example/a.csv?id=1&X-Amz-Security-Token={PASSWORD}"


@pytest.mark.parametrize(
    ("deployment", "parameters"),
    [
        ("predict/daily-predict", {"batch": {"inputs": [ADDRESS]}}),
        ("predict/daily-predict", {"batch": {"inputs": ["a.csv"], "output": ADDRESS}}),
        ("predict/daily-predict", {"batch": {"connection": f"postgresql://reader:{PASSWORD}@db/shop"}}),
        ("retrain/weekly-retrain", {"dataset": {"source": ADDRESS}}),
        ("actuals/daily-actuals", {"actuals": {"inputs": [ADDRESS]}}),
    ],
)
def test_an_address_with_a_password_never_reaches_the_database(
    run_deploy: Callable[..., subprocess.CompletedProcess[str]],
    deployed: str,
    deployment: str,
    parameters: dict[str, dict[str, Any]],
) -> None:
    with pytest.raises(httpx.HTTPStatusError, match=r"409|422"):
        Api(deployed).trigger(parameters, deployment)
    (flags,) = parameters.values()
    prefix = "--dataset." if "dataset" in parameters else "--"
    call = [
        word
        for flag, value in flags.items()
        for word in (f"{prefix}{flag}", *([value] if isinstance(value, str) else value))
    ]
    done = run_deploy(deployment.partition("/")[0], *call)
    assert (done.returncode, done.stdout) == (2, "")
    assert PASSWORD not in done.stderr
    files = list_database()
    assert any(b"daily-predict" in file.read_bytes() for file in files), "this is the server's database"
    assert [file for file in files if PASSWORD.encode() in file.read_bytes()] == []


def test_parameters_that_no_server_takes_are_refused(server: str) -> None:
    large = {"dataset": {"source": "a.csv", "features": [f"feature{number}" for number in range(50_000)]}}
    sentence = "The parameters of large.weekly-retrain take [0-9,]+ bytes, and a Prefect server takes 524,288"
    with pytest.raises(UserError, match=sentence):
        asyncio.run(deploy("large", large))
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        Api(server).deployment("predict/large.daily-predict")


def test_the_key_of_the_alert_address_is_in_no_field(
    server: str, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "key-of-a-chat"
    monkeypatch.setenv("LINEAR_NEURON_ALERT_WEBHOOK", f"{webhook.url}hook?room=1&key={key}")
    # Older versions wrote the address itself.
    old = CustomWebhookNotificationBlock(name=POOL, url=f"{webhook.url}?old-key", json_data={"text": "{{body}}"})
    old.save(ALERT_BLOCK, overwrite=True)
    asyncio.run(deploy())
    api = Api(server)
    (block,) = [found for found in api.ask("POST", "/block_documents/filter") if found["name"] == ALERT_BLOCK]
    asked = [
        block,
        api.ask("GET", f"/block_documents/{block['id']}"),
        api.ask("GET", f"/block_types/slug/custom-webhook/block_documents/name/{ALERT_BLOCK}"),
        api.ask("POST", "/automations/filter"),
        api.ask("POST", "/deployments/filter"),
        api.ask("POST", "/events/filter"),
        api.ask("POST", "/logs/filter"),
    ]
    assert block["data"]["url"] == "{{webhook}}"
    assert [found for found in asked if key in str(found)] == []
    assert [file for file in list_database() if key.encode() in file.read_bytes()] == []
    made: Any = CustomWebhookNotificationBlock.load(ALERT_BLOCK)
    made.notify("body", "subject")
    assert webhook.paths[-1] == f"/hook?room=1&key={key}"
    assert webhook.texts[-1] == "subject\nbody"


@pytest.mark.parametrize(
    ("deployment", "parameters"),
    [
        ("predict/daily-predict", {"batch": {"inputs": [SIGNED]}}),
        ("retrain/weekly-retrain", {"dataset": {"source": SIGNED}}),
        ("actuals/daily-actuals", {"actuals": {"inputs": [SIGNED]}}),
    ],
)
def test_signed_url_in_the_form_never_reaches_the_database(
    deployed: str, deployment: str, parameters: dict[str, dict[str, Any]]
) -> None:
    with pytest.raises(httpx.HTTPStatusError, match=r"409|422"):
        Api(deployed).trigger(parameters, deployment)
    assert [file for file in list_database() if PASSWORD.encode() in file.read_bytes()] == []


def describe_deployed(server: str, name: str) -> object:
    """Describe what a deploy of a model made: its deployments with parameters and schedules, and the automations."""
    api = Api(server)
    ours = [found for found in api.ask("POST", "/deployments/filter") if found["name"].startswith(f"{name}.")]
    facts = [(it["name"], it["parameters"], [at["schedule"] for at in it["schedules"]]) for it in ours]
    automations = sorted(found["name"] for found in api.ask("POST", "/automations/filter"))
    return sorted(facts, key=str), automations


def test_a_killed_deploy_is_completed_by_the_next(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before one request, and after another, of all that a deploy makes: a spread sample of two."""
    send, count, last, reply = httpx.AsyncClient.send, 0, 10_000, False

    async def send_some(self: httpx.AsyncClient, *args: Any, **kwargs: Any) -> httpx.Response:
        nonlocal count
        count += 1
        if count == last and not reply:
            raise KeyboardInterrupt
        answer = await send(self, *args, **kwargs)
        if count == last:
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(httpx.AsyncClient, "send", send_some)
    given = {"dataset": {"source": "a.csv", "features": ["area"]}}
    asyncio.run(deploy("killed"))  # The first one makes the work pool too.
    asyncio.run(undeploy("killed"))
    count = 0
    asyncio.run(deploy("killed", given, ["0 5 * * TUE"], "Europe/Berlin"))
    expected, requests = describe_deployed(server, "killed"), count
    for number, reply in zip(random.Random(1).sample(range(1, requests + 1), 2), (False, True), strict=True):  # noqa: S311, B007
        asyncio.run(undeploy("killed"))
        count, last = 0, number
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(deploy("killed", given, ["0 5 * * TUE"], "Europe/Berlin"))
        last = 10_000
        asyncio.run(deploy("killed", given, ["0 5 * * TUE"], "Europe/Berlin"))
        assert describe_deployed(server, "killed") == expected, number
    asyncio.run(undeploy("killed"))
