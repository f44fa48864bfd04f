"""The histogram of a batch is a picture that a browser can draw, whatever the target is called."""

from xml.etree import ElementTree

import pytest

from linear_neuron.tasks.model import Histogram, ModelVersion
from linear_neuron.tasks.reporting.histogram import draw_histogram, list_ticks, share_predictions, show_tick

SVG = "{http://www.w3.org/2000/svg}"


def read_texts(picture: bytes) -> list[str]:
    """Return the texts of an SVG, which is read as strictly as a browser reads an image."""
    return [text.text or "" for text in ElementTree.fromstring(picture).iter(f"{SVG}text")]  # noqa: S314 - is ours


def test_all_predictions_are_shared_among_the_bars(neuron: ModelVersion) -> None:
    edges, shares = share_predictions(neuron, [300, 100, 100, 0, 500])
    assert edges == [0.0, 5.0, 10.0, 15.0, 20.0, 25.0]
    assert shares == [0.3, 0.1, 0.1, 0.0, 0.5]
    assert share_predictions(neuron, [])[1] == [0.0] * 5


def test_bars_and_targets_are_as_high_as_their_shares(neuron: ModelVersion) -> None:
    bars, targets = ElementTree.fromstring(draw_histogram(neuron, [300, 100, 100, 0, 500])).iter(f"{SVG}polyline")  # noqa: S314
    points = [[float(number) for number in point.split(",")] for point in bars.attrib["points"].split()]
    bottom = points[0][1]
    assert [round((bottom - y) / (bottom - points[-2][1]) * 0.5, 2) for _, y in points[1:-1:2]] == [
        0.3,
        0.1,
        0.1,
        0,
        0.5,
    ]
    assert min(y for _, y in points) == points[-2][1], "the highest bar"
    outline = [point.split(",")[0] for point in targets.attrib["points"].split()]
    assert (outline[0], outline[-1]) == (f"{points[3][0]:.1f}", f"{points[-3][0]:.1f}"), "without the bars at the ends"


@pytest.mark.parametrize("name", ["a < b & c", "$x^2$", "a\nb\x00", "面积"])
def test_label_of_the_target_is_drawn_as_it_is(neuron: ModelVersion, name: str) -> None:
    model = neuron.model_copy(update={"labels": {neuron.target: name}})
    assert name.replace("\n", " ").replace("\x00", "").strip() in read_texts(draw_histogram(model, [1, 2, 3, 4, 5]))
    assert neuron.target in read_texts(draw_histogram(neuron, []))


def test_targets_that_are_all_alike_have_a_picture_too(neuron: ModelVersion) -> None:
    model = neuron.model_copy(update={"targets": Histogram(edges=[5.0, 5.0], counts=[4])})
    assert neuron.target in read_texts(draw_histogram(model, [0, 0, 0]))


def test_ticks_are_few_round_numbers() -> None:
    for low, high, ticks in (
        (0, 1, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (-3, 17, ["0", "5", "10", "15"]),
        (5_000_000, 40_000_000, ["5,000,000", "10,000,000", "15,000,000", "20,000,000", "25,000,000"]),
        (1e12, 2e12, ["1e+12", "1.2e+12", "1.4e+12", "1.6e+12", "1.8e+12", "2e+12"]),
        (1, 1, []),
    ):
        assert [show_tick(tick) for tick in list_ticks(low, high)][:6][: len(ticks)] == ticks
        assert len(list_ticks(low, high)) <= 8
