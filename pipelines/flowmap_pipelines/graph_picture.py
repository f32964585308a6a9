"""Where the boxes and arrows of a graph stand: what was used on the left of what was made of it.

picture = laid_out({"data": [], "base": ["data"], "tuned": ["base"]}, width=150, height=46)
picture.places["base"], picture.arrows[0].path, picture.frame
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_ACROSS, _DOWN, _MARGIN = 52, 22, 4


@dataclass(frozen=True)
class Arrow:
    """From one box to another.

    Attributes:
        path: a curve that leaves and arrives level, as SVG has it, over or under the boxes between.
        reach: the y of its middle.
    """

    used: str
    made: str
    path: str
    reach: float


@dataclass(frozen=True)
class Picture:
    """Boxes by their left upper corners, arrows, and the `viewBox` that holds them: x, y, width, height."""

    places: Mapping[str, tuple[int, int]]
    arrows: Sequence[Arrow]
    frame: tuple[int, int, int, int]


def laid_out(reads: Mapping[str, Sequence[str]], width: int, height: int) -> Picture:
    """Each box in a column right of all that it reads, as high as those are on average.

    Args:
        reads: of each box, what it was made of.
        width, height: of a box.
    """
    column = _columns(reads)
    rows: dict[str, float] = {}
    for index in range(max(column.values()) + 1):
        here = [name for name in reads if column[name] == index]
        wanted = {name: _mean([rows[each] for each in reads[name] if each in rows]) for name in here}
        for row, name in enumerate(sorted(here, key=lambda each: wanted[each])):
            rows[name] = row - (len(here) - 1) / 2
    lowest = min(rows.values())
    places = {
        name: (
            _MARGIN + column[name] * (width + _ACROSS),
            _MARGIN + round((rows[name] - lowest) * (height + _DOWN)),
        )
        for name in reads
    }
    middle = _mean([y + height / 2 for _, y in places.values()])
    arrows = [_arrow(used, made, places, (width, height), middle) for made in reads for used in reads[made]]
    top = min([0.0, *(arrow.reach - _MARGIN for arrow in arrows)])
    bottom = max([*(y + height for _, y in places.values()), *(arrow.reach for arrow in arrows)]) + _MARGIN
    right = max(x for x, _ in places.values()) + width + _MARGIN
    return Picture(places, arrows, (0, round(top), right, round(bottom - top)))


def _columns(reads: Mapping[str, Sequence[str]]) -> dict[str, int]:
    column: dict[str, int] = {}

    def depth(name: str, on_the_way: frozenset[str]) -> int:
        if name not in column:
            inputs = set(reads[name]) - on_the_way - {name}  # a circle is drawn, too
            column[name] = max((depth(each, on_the_way | {name}) + 1 for each in inputs), default=0)
        return column[name]

    for name in reads:
        depth(name, frozenset())
    return column


def _arrow(
    used: str,
    made: str,
    places: Mapping[str, tuple[int, int]],
    box: tuple[int, int],
    middle: float,
) -> Arrow:
    x0, y0 = places[used][0] + box[0], places[used][1] + box[1] // 2
    x1, y1 = places[made][0], places[made][1] + box[1] // 2
    num_between = max(0, (x1 - x0) // (box[0] + _ACROSS))
    lift = num_between * (box[1] + _DOWN) * (1 if y0 > middle else -1)
    bend = max(28, (x1 - x0) // (2 + num_between))
    path = f"M{x0},{y0} C{x0 + bend},{y0 + lift} {x1 - bend},{y1 + lift} {x1},{y1}"
    return Arrow(used, made, path, (y0 + y1) / 2 + 0.75 * lift)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
