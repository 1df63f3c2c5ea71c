"""What the dictionary version of every transform does."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from inspect import Parameter, Signature
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, ensure_tuple_rep

__all__ = ["BACKEND", "DictionaryTwin"]

# Arrays of NumPy are taken, and worked on as tensors.
BACKEND = [TransformBackends.TORCH]

OUTPUT_KEYS = """output_keys: key of each result, one for each of ``keys``; the result replaces the
    item if None."""

ARGUMENTS = f"""
Args:
    keys: keys of the items to transform.
{{own}}{{beside}}
    {OUTPUT_KEYS.replace(chr(10), chr(10) + "    ")}
    allow_missing_keys: skip keys that are missing.
"""

BESIDE = """
    {name}: key of the item that is taken beside each, as its ``{name}``; none if None."""

# Arguments for maps of how far to trust the answers, which an array transform names in its
# ``trust_keys``: the method of Restored that makes each, and what it is.
TRUST_KEYS = {
    "error_keys": ("half_width", "half widths of 90 % intervals"),
    "share_keys": ("share", "share of the operator"),
    "hidden_keys": ("hidden", "contrast that a small ball may hide"),
}

MAP = """
    {name}: key for the {map} of each result, one for each of
        ``keys``; not worked out if None."""


class DictionaryTwin(MapTransform):
    """A transform of dictionaries that applies its ``array_transform`` to every key.

    Its arguments are the keys; those of the array transform; and, by name, the key of what that
    takes beside each item (``mask`` or ``like``), ``error_keys`` and the like where it tells how
    far to trust its answers, ``output_keys`` and ``allow_missing_keys``.
    Signature and docstring of each subclass name them.
    """

    beside: str | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        array: Any = cls.array_transform
        cls.backend = array.backend
        cls.__signature__ = _signature(array, cls.beside)  # type: ignore[attr-defined]
        cls.__doc__ = _documented(cls, array)

    @property
    @abstractmethod
    def array_transform(self) -> type[Transform]:
        """The transform of arrays, a class attribute of each kind."""

    def __init__(
        self,
        keys: KeysCollection,
        *args: Any,
        output_keys: KeysCollection | None = None,
        allow_missing_keys: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.output_keys = (
            self.keys if output_keys is None else ensure_tuple_rep(output_keys, len(self.keys))
        )
        self.beside_key: Hashable | None = kwargs.pop(self.beside, None) if self.beside else None
        told = {name: kwargs.pop(name, None) for name in _trust_keys(self.array_transform)}
        self.map_keys = {
            TRUST_KEYS[name][0]: ensure_tuple_rep(keys, len(self.keys))
            for name, keys in told.items()
            if keys is not None
        }
        self.transform = self.array_transform(*args, **kwargs)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A copy of ``data`` with the results."""
        result = dict(data)
        other = {} if self.beside_key is None else {str(self.beside): data[self.beside_key]}
        keys = self.key_iterator(result, self.output_keys, *self.map_keys.values())
        for key, output_key, *map_keys in keys:
            if not map_keys:
                result[output_key] = self.transform(data[key], **other)
                continue
            found = self.transform.trusted(data[key], **other)  # type: ignore[attr-defined]
            result[output_key] = found.answer.sample()
            for method, map_key in zip(self.map_keys, map_keys, strict=True):
                result[map_key] = getattr(found, method)()
        return result


def _trust_keys(array: type[Transform]) -> Sequence[str]:
    return getattr(array, "trust_keys", ())


def _signature(array: type[Transform], beside: str | None) -> Signature:
    twin = dict(inspect.signature(DictionaryTwin.__init__).parameters)
    by_name = [twin["output_keys"], twin["allow_missing_keys"]]
    note = "KeysCollection | None"
    for name in reversed(_trust_keys(array)):
        by_name.insert(0, Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=note))
    if beside is not None:
        key = Parameter(beside, Parameter.KEYWORD_ONLY, default=None, annotation="Hashable | None")
        by_name.insert(0, key)
    return Signature([twin["keys"], *inspect.signature(array).parameters.values(), *by_name])


def _documented(twin: type[DictionaryTwin], array: type[Transform]) -> str:
    # The twin's own words, with the arguments as the array transform tells them.
    _, _, after = (inspect.getdoc(array) or "").partition("\nArgs:\n")
    own = after.partition("\n\n")[0].rstrip()
    beside = "" if twin.beside is None else BESIDE.format(name=twin.beside)
    for name in _trust_keys(array):
        beside += MAP.format(name=name, map=TRUST_KEYS[name][1])
    told, heading, example = (inspect.getdoc(twin) or "").partition("\n\nExample:\n")
    return f"{told}\n{ARGUMENTS.format(own=own, beside=beside)}{heading[1:]}{example}"
