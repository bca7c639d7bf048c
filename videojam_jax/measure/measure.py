"""What a measured quantity is called, what it is best at, and how it was measured."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Measure:
    """A quantity measured on one clip (or, for a distance of sets, on many).

    Attributes:
      name: as tables show it.
      meaning: its definition, in a sentence.
      ideal: what a perfect clip has; None where neither more nor less is better.
      worst: the other end of its range; None where it has no end.
      unit: "%" for a share in [0, 1], else as it is shown after the name.
    """

    name: str
    meaning: str
    ideal: float | None
    worst: float | None = None
    unit: str = ""

    @property
    def better(self) -> int:
        """1 where more is better, -1 where less is, 0 where neither is.

        >>> Measure("body permanence", "", ideal=1.0, worst=0.0).better
        1
        """
        if self.ideal is None:
            return 0
        return 1 if self.worst is not None and self.ideal > self.worst else -1
