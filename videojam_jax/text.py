"""Encoded captions as they travel from a record to the trunk: one pytree."""

from typing import Any, NamedTuple


class Text(NamedTuple):
    """Captions of a batch, padded to one length; or one caption, without the axis `b`.

    Attributes:
      tokens: ids `[b, n]` or embeddings `[b, n, e]`.
      mask: bool `[b, n]`, true where a token is, false where there is padding.
    """

    tokens: Any
    mask: Any

    def row(self, i) -> "Text":
        """Caption `i` alone."""
        return Text(self.tokens[i], self.mask[i])
