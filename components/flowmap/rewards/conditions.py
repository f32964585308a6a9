"""Whether the things found in a picture are what its prompt demands: objects, how many, colours, positions.

found = [Thing("dog", (0, 0, 40, 60)), Thing("cup", (50, 20, 70, 60), colour="blue")]
share_fulfilled(found, {"include": [{"class": "dog"}, {"class": "cup", "color": "red"}]})     # 2/3

Demands are written as GenEval writes them (arXiv 2310.11513), `include` and `exclude`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_APART = 0.1  # of both sizes together: what lies nearer than that beside another is on no side of it
_SIDEWAYS = 0.5  # how much of a direction has to point somewhere to be that way
_WAYS = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}  # axis and sign


@dataclass(frozen=True)
class Thing:
    """What was found in a picture.

    Attributes:
        name: of its class.
        box: left, top, right and bottom, in pixels.
        confidence: from 0 to 1.
        colour: None where nobody looked.
    """

    name: str
    box: tuple[float, float, float, float]
    confidence: float = 1.0
    colour: str | None = None

    def lies(self, way: str, other: Thing) -> bool:
        """Whether it lies that way from another: `left of`, `right of`, `above` or `below`."""
        axis, sign = _WAYS[way]
        clear = []
        for first in (0, 1):
            mine, theirs = ((box[first], box[first + 2]) for box in (self.box, other.box))
            away = (sum(mine) - sum(theirs)) / 2
            near = _APART * (mine[1] - mine[0] + theirs[1] - theirs[0])
            clear.append(max(abs(away) - near, 0.0) * (1 if away > 0 else -1))
        length = math.hypot(*clear)
        return length > 0 and clear[axis] * sign / length > _SIDEWAYS


def share_fulfilled(found: Sequence[Thing], demands: Mapping[str, Any], *, strict: bool = False) -> float:
    """How much of what is demanded a picture shows, from 0 to 1: the mean over its conditions.

    Of a number of things it is how near their number is. With `strict` it is 1 or 0: whether all of it is
    there.
    """
    met = [share for _, share in _conditions(found, demands)]
    if strict:
        return float(all(each == 1 for each in met))
    return sum(met) / len(met) if met else 1.0


def conditions_met(found: Sequence[Thing], demands: Mapping[str, Any]) -> dict[str, bool]:
    """Each condition in words, and whether it is met."""
    return {words: share == 1 for words, share in _conditions(found, demands)}


def demands_anything(facts: Mapping[str, Any]) -> bool:
    return bool(facts.get("include") or facts.get("exclude"))


def problem_of(facts: Mapping[str, Any]) -> str | None:
    """What of a prompt's demands can't be understood, if anything."""
    for name in ("include", "exclude"):
        demands = facts.get(name) or ()
        if isinstance(demands, str) or not all(isinstance(each, Mapping) for each in demands):
            return f"{name} is to be a list of objects"
        for index, each in enumerate(demands):
            where = f"{name}[{index}]"
            if not isinstance(each.get("class"), str):
                return f"{where} names no class"
            count = each.get("count", 1 if name == "include" else None)
            if not str(count).isdecimal() or int(count) < 1:
                return f"{where} has the count {count!r}, and a number from 1 on is asked for"
            if "position" in each and (told := _problem_of_position(each["position"], index)):
                return f"{where} has the position {each['position']!r}, {told}"
    return None


def _problem_of_position(position: Any, index: int) -> str | None:
    if isinstance(position, str) or not isinstance(position, Sequence) or len(position) != 2:
        return "and a way and an object's index are asked for"
    if position[0] not in _WAYS:
        return f"and the ways are {', '.join(_WAYS)}"
    if not str(position[1]).isdecimal() or int(position[1]) >= index:
        return "and an object that stands before it is asked for, counted from 0"
    return None


def classes_of(facts: Mapping[str, Any]) -> list[str]:
    """The classes that demands name."""
    named = [*(facts.get("include") or ()), *(facts.get("exclude") or ())]
    return sorted({str(each["class"]) for each in named})


def _conditions(found: Sequence[Thing], demands: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    groups: list[list[Thing]] = []
    included = demands.get("include") or ()
    classes = Counter(each["class"] for each in included)
    for each in included:
        wanted, name = int(each.get("count", 1)), each["class"]
        here = sorted(_of(found, name), key=lambda thing: -thing.confidence)
        yield name if wanted == 1 else f"{wanted} of {name}", min(len(here) / wanted, 1.0)
        # Colours and places are those of the surest: a faint one of the right colour stands for nothing, but
        # where things of a class are asked for twice, such as a red and a blue one.
        looked_at = here[:wanted] if classes[name] == 1 else here
        coloured = [thing for thing in looked_at if each.get("color") in (None, thing.colour)][:wanted]
        if "color" in each:
            yield f"{name}: {each['color']}", min(len(coloured) / wanted, 1.0)
        groups.append(coloured)
        if "position" in each:
            way, index = each["position"]
            where = f"{name}: {way} {included[int(index)]['class']}"
            yield where, float(_all_lie(groups[-1], way, groups[int(index)]))
    for each in demands.get("exclude") or ():
        name, limit = each["class"], int(each["count"])
        too_many = len(_of(found, name)) - limit + 1
        yield f"fewer than {limit} of {name}", 1.0 if too_many <= 0 else max(0.0, 1 - too_many / limit)


def _of(found: Sequence[Thing], name: str) -> list[Thing]:
    return [thing for thing in found if thing.name == name]


def _all_lie(these: Sequence[Thing], way: str, others: Sequence[Thing]) -> bool:
    pairs = [(one, other) for one in these for other in others]
    return bool(pairs) and all(one.lies(way, other) for one, other in pairs)
