"""How a public file's tensors become the arrays of one of our models, and back: one table.

A layout is a list of `Row`s, one for each array of ours. Both directions follow it, so a
tensor that came in goes out again bit for bit.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Row:
    """One array of ours and the public tensor that it is.

    Attributes:
      ours: path of the array in the parameters, "encoder/conv_in/kernel".
      public: name of the tensor. With `stack`, "{}" in it stands for the layer's number.
      axes: `ours = public.transpose(axes)`; None: as it is. See the constants below.
      also: other names that files give the same tensor (tied weights); read where the first
        is missing, never written.
      stack: 0, or the number of tensors that are stacked to a new first axis of ours.
    """

    ours: str
    public: str
    axes: tuple[int, ...] | None = None
    also: tuple[str, ...] = ()
    stack: int = 0


# torch keeps [out, in, ...], flax [..., in, out].
LINEAR = (1, 0)
CONV2D = (2, 3, 1, 0)
CONV3D = (2, 3, 4, 1, 0)
