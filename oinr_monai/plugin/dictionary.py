"""What the dictionary version of every transform does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import ensure_tuple_rep

__all__ = ["DictionaryTwin"]


class DictionaryTwin(MapTransform):
    """A transform of dictionaries that applies its ``array_transform`` to every key.

    Args:
        keys: keys of the items to transform.
        output_keys: key of each result, one for each of ``keys``; the result replaces the item if
            None.
        allow_missing_keys: skip keys that are missing.
        args: what the array transform takes.
        kwargs: what the array transform takes by name; and the key of the item that it takes beside
            each item, under that item's name (``mask`` or ``like``).
    """

    beside: str | None = None

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
