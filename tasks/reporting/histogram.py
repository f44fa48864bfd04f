"""The histogram of a batch, written as SVG: to import Matplotlib takes a fifth of the time of a small batch."""

import math
from collections.abc import Iterable
from html import escape

from linear_neuron.tasks.model import ModelVersion
from linear_neuron.tasks.text import one_line

WIDTH, HEIGHT = 800, 450  # pixels of the picture
LEFT, RIGHT, TOP, BOTTOM = 112, 768, 66, 387  # edges of the plot in it
BLUE, ORANGE, GREY, INK, GRID = "#0072B2", "#D55E00", "#8A8A8A", "#222222", "#E6E6E6"  # as in plots.py
TITLE = "Predictions beside the training targets"
TICKS = 8  # at most, on each axis
Outline = list[tuple[float, float]]


def draw_histogram(model: ModelVersion, counts: list[int]) -> bytes:
    """Draw how the predictions of a batch are spread, beside the targets that the model was trained on, as SVG.

    `counts` is for the bins of `model.targets`, with one bin more on either side: all predictions below or above.
    """
    edges, shares = share_predictions(model, counts)
    targets = _share(model.targets.counts)
    width, top = edges[-1] - edges[0] or 1.0, max(*shares, *targets) * 1.05 or 1.0

    def place(value: float, share: float) -> tuple[float, float]:
        return LEFT + (value - edges[0]) / width * (RIGHT - LEFT), BOTTOM - share / top * (BOTTOM - TOP)

    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for value in list_ticks(edges[0], edges[-1]):
        x, _ = place(value, 0)
        parts += [_line((x, TOP), (x, BOTTOM), GRID), _text(x, BOTTOM + 20, show_tick(value), "middle", 15)]
    for value in list_ticks(0, top):
        _, y = place(edges[0], value)
        parts += [_line((LEFT, y), (RIGHT, y), GRID), _text(LEFT - 8, y + 5, show_tick(value), "end", 15)]
    for heights, first, look in (
        (shares, 0, f'fill="{BLUE}" fill-opacity="0.55"'),
        (targets, 1, f'fill="none" stroke="{ORANGE}" stroke-width="3"'),
    ):
        points = [place(edges[first], 0)]
        for left, right, share in zip(edges[first:], edges[first + 1 :], heights, strict=False):
            points += [place(left, share), place(right, share)]
        points.append((points[-1][0], BOTTOM))
        parts.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" {look}/>')
    label = one_line(model.labels.get(model.target, model.target))
    parts += [
        _line((LEFT, TOP), (LEFT, BOTTOM), GREY),
        _line((LEFT, BOTTOM), (RIGHT, BOTTOM), GREY),
        _text(LEFT, 24, TITLE, "start", 20),
        _text((LEFT + RIGHT) / 2, HEIGHT - 14, label, "middle", 18),
        f'<g transform="translate(30,{(TOP + BOTTOM) / 2}) rotate(-90)">',
        _text(0, 0, "Share of the rows", "middle", 18),
        "</g>",
        *_draw_legend(),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="DejaVu Sans, Verdana, sans-serif" fill="{INK}">{"".join(parts)}</svg>'
    ).encode()


def _draw_legend() -> Iterable[str]:
    """Draw the legend in a line below the title."""
    yield f'<rect x="{LEFT}" y="38" width="28" height="14" fill="{BLUE}" fill-opacity="0.55"/>'
    yield _text(LEFT + 36, 50, "predictions; the bars at the ends hold all beyond", "start", 14)
    yield f'<path d="M{LEFT + 420},45h28" stroke="{ORANGE}" stroke-width="3"/>'
    yield _text(LEFT + 456, 50, "training targets", "start", 14)


def _line(start: tuple[float, float], end: tuple[float, float], colour: str) -> str:
    return f'<path d="M{start[0]:.1f},{start[1]:.1f}L{end[0]:.1f},{end[1]:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str, size: int) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'


def list_ticks(low: float, high: float) -> list[float]:
    """List at most TICKS round numbers between two, in equal steps of 1, 2 or 5 times a power of ten."""
    least = (high - low) / (TICKS - 1)
    if not (least > 0 and math.isfinite(least)):
        return []
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def show_tick(value: float) -> str:
    """Write a number at an axis, with separators, or a power of ten where it is long."""
    return f"{value:,.10g}" if abs(value) < 1e8 else f"{value:.3g}"


def share_predictions(model: ModelVersion, counts: list[int]) -> tuple[list[float], list[float]]:
    """Share all predictions of a batch among the bins of the targets, and one more of their width on either side."""
    edges = model.targets.edges
    step = (edges[-1] - edges[0]) / (len(edges) - 1)
    return [edges[0] - step, *edges, edges[-1] + step], _share(counts or [0] * (len(edges) + 1))


def _share(counts: list[int]) -> list[float]:
    return [count / max(1, sum(counts)) for count in counts]
