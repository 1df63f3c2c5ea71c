"""What the dictionary version of every transform does."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Hashable, Mapping
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


class DictionaryTwin(MapTransform):
    """A transform of dictionaries that applies its ``array_transform`` to every key.

    Its arguments are the keys; those of the array transform; and, by name, the key of what that
    takes beside each item (``mask`` or ``like``), ``output_keys`` and ``allow_missing_keys``.
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
        self.transform = self.array_transform(*args, **kwargs)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A copy of ``data`` with the results."""
        result = dict(data)
        other = {} if self.beside_key is None else {str(self.beside): data[self.beside_key]}
        for key, output_key in self.key_iterator(result, self.output_keys):
            result[output_key] = self.transform(data[key], **other)
        return result


def _signature(array: type[Transform], beside: str | None) -> Signature:
    twin = dict(inspect.signature(DictionaryTwin.__init__).parameters)
    by_name = [twin["output_keys"], twin["allow_missing_keys"]]
    if beside is not None:
        key = Parameter(beside, Parameter.KEYWORD_ONLY, default=None, annotation="Hashable | None")
        by_name.insert(0, key)
    return Signature([twin["keys"], *inspect.signature(array).parameters.values(), *by_name])


def _documented(twin: type[DictionaryTwin], array: type[Transform]) -> str:
    # The twin's own words, with the arguments as the array transform tells them.
    _, _, after = (inspect.getdoc(array) or "").partition("\nArgs:\n")
    own = after.partition("\n\n")[0].rstrip()
    beside = "" if twin.beside is None else BESIDE.format(name=twin.beside)
    return f"{inspect.getdoc(twin)}\n{ARGUMENTS.format(own=own, beside=beside)}"
