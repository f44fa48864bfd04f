"""The list of models: read as it is written, and each mistake in it one line."""

from pathlib import Path

import pytest

from linear_neuron.tasks.errors import UserError
from linear_neuron.tasks.model_list.read_models import choose_models, read_models

SALES = "- name: sales\n  dataset: {source: sales.csv, features: [area], target: price}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "models.yaml"


def find_mistakes(file: Path, text: str) -> list[str]:
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        read_models(str(file))
    return str(caught.value).splitlines()


def test_models_have_their_own_parameters_and_folders(file: Path) -> None:
    file.write_text(
        "- name: sales\n"
        "  dataset: &homes {source: sales.csv, features: [area], target: price}\n"
        "  training: {l2: 0.5}\n"
        "  actuals: {inputs: [paid/*.csv]}\n"
        "- name: rent\n"
        "  dataset: {<<: *homes, source: rent.csv}\n"
        "  due: {retrain: never, timezone: Europe/Berlin}\n"
    )
    sales, rent = read_models(str(file))
    assert sales.list_parameters("retrain")["training"].l2 == 0.5
    assert sales.list_parameters("predict")["batch"].inputs == ["inbox-sales"]
    assert sales.list_parameters("actuals")["actuals"].inputs == ["paid/*.csv"]
    assert (rent.dataset.source, rent.dataset.features, rent.due.retrain) == ("rent.csv", ["area"], "never")
    assert (sales.due.zone, rent.due.zone) == ("UTC", "Europe/Berlin")
    assert choose_models([sales, rent], [], "models.yaml") == [sales, rent]
    assert choose_models([sales, rent], ["rent"], "models.yaml") == [rent]
    with pytest.raises(UserError, match=r"^models.yaml has no model lease\.$"):
        choose_models([sales, rent], ["rent", "lease"], "models.yaml")


def test_each_mistake_names_file_model_field_and_value(file: Path) -> None:
    assert find_mistakes(
        file,
        "- name: sales\n  dataset: {max_rejects: 3, sauce: a.csv}\n  due: {retrain: 0 25 * * *, timezone: Mars}\n"
        "- dataset: {source: b.csv}\n"
        "- rent\n",
    ) == [
        f"{file}, model sales: dataset.max_rejects: Input should be less than or equal to 1, not 3.",
        f"{file}, model sales: dataset.sauce: Extra inputs are not permitted, not 'a.csv'.",
        f"{file}, model sales: due.retrain: must be a cron line, such as 0 6 * * MON, or never, not '0 25 * * *'.",
        f"{file}, model sales: due.timezone: must be a time zone, such as Europe/Berlin, not 'Mars'.",
        f"{file}, entry 2: name: Field required, not left out.",
        f"{file}, entry 3: Input should be a valid dictionary or instance of Entry, not 'rent'.",
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Sales", "A model can't have the name 'Sales': use up to 40 of a to z, digits and hyphens, such as sales."),
        ("sales", "an earlier entry has the same name; give each model its own."),
        ("linear-neuron", "the name linear-neuron is that of the model without a name; use another one."),
    ],
)
def test_a_name_is_possible_and_used_once(file: Path, name: str, reason: str) -> None:
    mistakes = find_mistakes(file, SALES + SALES.replace("sales\n", f"{name}\n"))
    assert mistakes == [f"{file}, model {name}: {reason}"]


def test_signed_urls_and_passwords_are_refused_unseen(file: Path) -> None:
    (signed,) = find_mistakes(file, SALES.replace("sales.csv", "'https://x.org/a.csv?X-Amz-Signature=hidden'"))
    assert signed.startswith(f"{file}, model sales: https://x.org/a.csv is a signed URL")
    (secret,) = find_mistakes(file, SALES.replace("sales.csv", "'https://me:hidden@x.org/a.csv'"))
    assert secret.startswith(f"{file}, model sales: dataset.source: must not hold a URL with a user or a password")
    assert "hidden" not in signed + secret


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "{file} has no list of models; each begins as `- name: sales` and has a dataset."),
        ("name: sales", "{file} has no list of models; each begins as `- name: sales` and has a dataset."),
        ("- [", "{file} is no YAML: while parsing a flow node"),
        ("- \xff", "{file} is no YAML: "),
    ],
)
def test_what_is_no_list_is_refused(file: Path, text: str, reason: str) -> None:
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as caught:
        read_models(str(file))
    assert str(caught.value).startswith(reason.format(file=file))


def test_a_file_that_is_missing_is_named(file: Path) -> None:
    with pytest.raises(
        UserError, match=r"^The list of models .*models\.yaml can't be read: No such file or directory\.$"
    ):
        read_models(str(file))
