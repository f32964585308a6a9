"""Where the aliases of a model went: moves have numbers and are written once, so of two at once one is made.

    moves = Moves(store, "digits")
    moves.numbers()                      # {"production": [1, 2, 3]}
    moves.read("production", 3).version
    moves.make("production", 4, version, before=3, reason="it draws 7")   # False: somebody else did

`models/<name>/moves/<alias>/<number>.json` is a move, with its signature in it where there is a key: an
alias never leads to what nobody signed. A copy of the signature lies beside it, `<number>/<key>.json`, as
those of other keys do: a move that is gone leaves that behind.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flowmap.artifacts.digest import canonical_json
from flowmap.artifacts.store import ObjectStore
from flowmap.errors import IntegrityError
from flowmap.registry.records import Move, Version, read_kept
from flowmap.registry.retiring import check_in_use
from flowmap.registry.who import who

# States and signs an alias's move of a number; gives a DSSE envelope.
Seal = Callable[[str, int, Move], dict[str, Any]]
_MOVE = re.compile(r"/moves/([^/]+)/([1-9]\d*)\.json$")
_SIGNATURE = re.compile(r"/moves/([^/]+)/([1-9]\d*)/[^/]+\.json$")


@dataclass(frozen=True)
class Moves:
    """All aliases of one model.

    Attributes:
        seal: signs each move that is made; None for no signature.
    """

    store: ObjectStore
    model: str
    seal: Seal | None = None

    def numbers(self) -> dict[str, list[int]]:
        """The moves that there are of each alias, oldest first."""
        return self._numbers(_MOVE)

    def lost(self) -> list[str]:
        """Names of moves that must have been there: there are later ones, or signatures of them."""
        there, signed = self.numbers(), self._numbers(_SIGNATURE)
        return [
            self.name(alias, number)
            for alias in sorted({*there, *signed})
            for number in range(1, 1 + max([*there.get(alias, []), *signed.get(alias, [])]))
            if number not in there.get(alias, []) and not self._is_there(alias, number)
        ]

    def last(self, alias: str) -> Move | None:
        """The last move of an alias; None where it never moved.

        Raises IntegrityError where it is gone: an older one would count.
        """
        number = self.num(alias)
        signed = max(self._numbers(_SIGNATURE, alias).get(alias, [0]))
        if signed > number:
            if not self._is_there(alias, signed):
                name, said = self.name(alias, signed), self.folder(alias, signed)
                raise IntegrityError(
                    f"{name} is missing in {self.store.url}, and it was the last move of "
                    f"{self.model}@{alias}: what it said stands in {said}/, and `flowmap lineage mend` "
                    "writes it again"
                )
            number = signed
        return self.read(alias, number) if number else None

    def _is_there(self, alias: str, number: int) -> bool:
        """Whether a move is there after all, that was made after the moves were listed."""
        return self.store.exists(self.name(alias, number))

    def of(self, alias: str) -> list[Move]:
        """Every move of an alias, oldest first. Raises IntegrityError where one is gone."""
        return [self.read(alias, number) for number in range(1, self.num(alias) + 1)]

    def num(self, alias: str) -> int:
        """How often it was moved."""
        return max(self._numbers(_MOVE, alias).get(alias, [0]))

    def read(self, alias: str, number: int) -> Move:
        """Raises IntegrityError where it is gone or is no move any more."""
        return read_kept(self.store, self.name(alias, number), Move)

    def make(
        self,
        alias: str,
        number: int,
        version: Version,
        before: int | None,
        *,
        evaluation: str | None = None,
        reason: str | None = None,
    ) -> bool:
        """Let an alias point to a version, by the move of that number, signed before; False when somebody
        else has made that move. Raises RetiredError, and IntegrityError where the one before it is no move
        any more."""
        check_in_use(self.store, version)
        move = Move(
            version=version.version,
            before=before,
            evaluation=evaluation,
            reason=reason,
            who=who(),
            previous=self.read(alias, number - 1).says if number > 1 else None,
            moved_at=datetime.now(UTC).replace(microsecond=0),
        )
        if self.seal is None:
            return self._create(alias, number, move)
        envelope = self.seal(alias, number, move)
        if not self._create(alias, number, move.model_copy(update={"envelope": envelope})):
            return False
        key = envelope["signatures"][0]["keyid"]
        self.store.create(f"{self.folder(alias, number)}/{key}.json", canonical_json(envelope))
        return True

    def restore(self, alias: str, number: int, move: Move) -> bool:
        """Write a move again that was made once and is gone; False where it is there."""
        return self._create(alias, number, move)

    def parse(self, name: str) -> tuple[str, int]:
        """The alias and the number of a move, by the name that it has in the store."""
        match = _MOVE.search(name)
        assert match is not None
        return match[1], int(match[2])

    def name(self, alias: str, number: int) -> str:
        """Of a move in the store."""
        return f"{self.folder(alias, number)}.json"

    def folder(self, alias: str, number: int) -> str:
        """Where signatures of a move lie, beside it."""
        return f"models/{self.model}/moves/{alias}/{number}"

    def _create(self, alias: str, number: int, move: Move) -> bool:
        data = move.model_dump_json(indent=1, exclude=None if move.envelope else {"envelope"}).encode()
        return self.store.create(self.name(alias, number), data)

    def _numbers(self, pattern: re.Pattern[str], alias: str = "") -> dict[str, list[int]]:
        """Of all aliases, or of one."""
        found: dict[str, set[int]] = {}
        for name in self.store.names(f"models/{self.model}/moves/{alias}".rstrip("/")):
            if match := pattern.search(name):
                found.setdefault(match[1], set()).add(int(match[2]))
        return {alias: sorted(numbers) for alias, numbers in found.items()}
