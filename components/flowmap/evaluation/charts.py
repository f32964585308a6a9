"""Line charts as SVG that takes its colours of text and grid from the page around it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import matplotlib as mpl
from matplotlib.figure import Figure

# Distinguishable for most colour-blind people, on white and on near-black (Okabe and Ito 2008).
COLOURS = {
    "base": "#0072b2",
    "tuned": "#d55e00",
    "baseline": "#009e73",
    "incumbent": "#cc79a7",
    "anchor": "#56b4e9",
    "real": "#888888",
}
_INK = "#010203"


@dataclass(frozen=True)
class Line:
    """One curve: its label, its points, its colour, and how it is drawn."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    style: str = "-"


def line_chart(
    title: str,
    x_label: str,
    lines: Sequence[Line],
    *,
    levels: Mapping[str, float] | None = None,
    log_x: bool = False,
) -> str:
    """An SVG element with one curve for each line, and a dotted horizontal for each of `levels`.

    Equal data give equal bytes: the drawing carries no date, and its ids are not random.
    """
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "flowmap", "font.size": 9}):
        figure = Figure(figsize=(4.2, 2.6), layout="constrained")
        axes = figure.subplots()
        for line in lines:
            marker = "o" if len(line.x) <= 12 else None
            axes.plot(
                line.x, line.y, line.style, label=line.label, color=line.colour, marker=marker, markersize=4
            )
        for label, value in (levels or {}).items():
            axes.axhline(value, color=COLOURS["real"], linestyle=":", label=label)
        if log_x:
            axes.set_xscale("log")
            ticks = sorted({value for line in lines for value in line.x})
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.minorticks_off()
        axes.set_title(title, color=_INK)
        axes.set_xlabel(x_label, color=_INK)
        axes.tick_params(colors=_INK)
        axes.spines[:].set_color(_INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, labelcolor=_INK, fontsize=8)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().replace(_INK, "currentColor")
    told = escape(_in_words(title, x_label, lines, levels or {}), {'"': "&quot;"})
    return text[text.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{told}"', 1)


def _in_words(title: str, x_label: str, lines: Sequence[Line], levels: Mapping[str, float]) -> str:
    """What a chart shows, for those who can't see it."""
    told = [
        f"{line.label} from {line.y[0]:.3g} at {line.x[0]:g} to {line.y[-1]:.3g} at {line.x[-1]:g}"
        for line in lines
        if len(line.x)
    ]
    told += [f"{label} {value:.3g}" for label, value in levels.items()]
    return f"{title} over {x_label}: {', '.join(told)}"
