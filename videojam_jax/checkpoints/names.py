"""What the arrays of a model are called: their path in its nested dictionaries."""

import functools

from flax import traverse_util

# `{"a": {"b": x}}` as `{"a/b": x}`, and back.
flat = functools.partial(traverse_util.flatten_dict, sep="/")
nested = functools.partial(traverse_util.unflatten_dict, sep="/")
