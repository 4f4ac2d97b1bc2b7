"""Division of named inputs among independent runs."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from synergy.errors import UserError


@dataclass(frozen=True)
class Shard:
    """One of several parts of all inputs. Only its name decides to which part an input belongs.

    The parts have about the same size: with N inputs and n parts, N / n with a standard deviation of about
    sqrt(N / n). An input stays in its part when others are added or removed.

    Attributes:
        index: number of this part, from 1.
        count: number of parts.

    Example:
        >>> parts = [Shard(1, 3), Shard(2, 3), Shard(3, 3)]
        >>> ["photos/a.jpg" in part for part in parts]
        [False, True, False]
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `i/n`, as in `--shard 2/8`.

        Raises:
            UserError: it has another form, or i is not in 1..n.

        Example:
            >>> Shard.parse("2/8")
            Shard(index=2, count=8)
        """
        match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        index, count = (int(number) for number in match.groups()) if match else (0, 0)
        if not 1 <= index <= count:
            raise UserError(f"--shard {text}: expected i/n with i from 1 to n, for example 1/4")
        return cls(index, count)

    def __contains__(self, name: object) -> bool:
        digest = hashlib.blake2b(str(name).encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.index - 1


ALL = Shard(1, 1)
