"""Files of tensors with a header: what is written is read, what is strange bounded."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from oinr_monai.coding.strict_json import finite
from oinr_monai.coding.tensor_file import (
    DEEPEST_HEADER,
    LONGEST_HEADER,
    LONGEST_MESSAGE,
    FileKind,
    OtherFileError,
    check_finite,
    one_line,
    open_tensor_file,
    parsed,
    short_path,
    write_tensor_file,
)

KIND = FileKind("header", "{path} must be whole: {reason}; write it again")

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.uint8, torch.bool,
]  # fmt: skip


def made(dtype: torch.dtype) -> dict[str, Tensor]:
    tensor = torch.tensor([[0, 1, 0], [1, 1, 0]]).to(dtype)
    return {"b": tensor, "a": tensor.T, "number": tensor[0, 1], "none": tensor[:0]}


def read(path: Path, like: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with open_tensor_file(path, KIND) as file:
        return file.header, file.tensors(like)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_bit_is_kept(dtype: torch.dtype, tmp_path: Path) -> None:
    header = {"word": "µ", "numbers": [0.1, 1e-320, -1e300], "nothing": None}
    write_tensor_file(tmp_path / "a", "header", header, made(dtype))
    found, tensors = read(tmp_path / "a", made(dtype))
    assert found == finite(header)
    for name, tensor in made(dtype).items():
        assert torch.equal(tensors[name], tensor)
        assert tensors[name].dtype == dtype


def test_equal_contents_are_equal_bytes(tmp_path: Path) -> None:
    for i in range(8):  # safetensors keeps its own metadata in an order that differs by run
        write_tensor_file(tmp_path / str(i), "header", {"x": 1}, made(torch.float32))
    assert len({(tmp_path / str(i)).read_bytes() for i in range(8)}) == 1


def test_shared_tensors_are_each_kept(tmp_path: Path) -> None:
    tensor = torch.arange(4.0)
    write_tensor_file(tmp_path / "a", "header", {"x": 1}, {"a": tensor, "b": tensor})
    _, tensors = read(tmp_path / "a", {"a": tensor, "b": tensor})
    assert torch.equal(tensors["b"], tensor)


LIKE: dict[str, tuple[dict[str, Tensor], str]] = {
    "fewer": ({"a": torch.zeros(2, 3)}, "1 tensors too many, with b"),
    "more": ({n: torch.zeros(2, 3) for n in "abc"}, "1 tensors too few, without c"),
    "shape": (
        {n: torch.zeros(3, 2) for n in "ab"},
        r"must be float32 \(3, 2\), got float32 \(2, 3",
    ),
    "type": ({n: torch.zeros(2, 3).int() for n in "ab"}, "must be int32 .*, got float32"),
}


@pytest.mark.parametrize("case", LIKE)
def test_what_is_wanted_is_compared_before_it_is_read(case: str, tmp_path: Path) -> None:
    like, message = LIKE[case]
    tensors = {n: torch.ones(2, 3) for n in "ab"}
    write_tensor_file(tmp_path / "a", "header", {"x": 1}, tensors)
    meta = {name: tensor.to("meta") for name, tensor in like.items()}
    with pytest.raises(ValueError, match=f"a must be whole: .*{message}.*; write it again"):
        read(tmp_path / "a", meta)


@pytest.mark.parametrize("place", ["header", "tensor", "name"])
def test_damage_is_told_by_the_checksum(place: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_tensor_file(path, "header", {"word": "seven"}, {"first": torch.tensor([1.0, 2.0])})
    old, new = {
        "header": (b"seven", b"eleve"),
        "tensor": (b"\x00\x00\x80?", b"\x01\x00\x80?"),
        "name": (b'"first"', b'"firsT"'),
    }[place]
    path.write_bytes(path.read_bytes().replace(old, new))
    name = "firsT" if place == "name" else "first"
    with pytest.raises(ValueError, match="contents that differ from their checksum"):
        read(path, {name: torch.zeros(2)})


def test_without_a_checksum_a_file_is_read(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "a", {"header": '{"x": 1}'})
    assert read(tmp_path / "a", {"a": torch.zeros(2)})[0] == {"x": 1}


HEADERS: dict[str, tuple[str, str]] = {
    "a list": ("[1]", "a header that is a list"),
    "twice": ('{"a": 1, "a": 2}', "occurs twice"),
    "deep": ('{"a": ' + "[" * 40 + "]" * 40 + "}", "more than 32 levels"),
    "bottomless": ("[" * 100_000, "recursion"),
    "long": ('{"a": "' + "x" * (1 << 20) + '"}', "characters, more than 1048576"),
    "no JSON": ("{", "Expecting property name"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers_are_bounded(case: str, tmp_path: Path) -> None:
    text, message = HEADERS[case]
    save_file({"a": torch.ones(2)}, tmp_path / "a", {"header": text})
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path / "a", {"a": torch.zeros(2)})
    assert len(str(caught.value)) <= LONGEST_MESSAGE


def test_headers_may_be_as_deep_and_as_long_as_that() -> None:
    def nested(lists: int) -> str:
        return '{"x": ' + "[" * lists + "1" + "]" * lists + "}"

    # A level for the header itself, and one for what is innermost.
    deepest = DEEPEST_HEADER - 2
    assert json.dumps(parsed(nested(deepest))) == nested(deepest)
    with pytest.raises(ValueError, match=f"a header of more than {DEEPEST_HEADER} levels"):
        parsed(nested(deepest + 1))
    longest = '{"x": "' + "y" * (LONGEST_HEADER - 9) + '"}'
    assert len(parsed(longest)["x"]) == LONGEST_HEADER - 9
    with pytest.raises(ValueError, match=f"more than {LONGEST_HEADER}"):
        parsed(longest + " ")


def test_a_long_list_of_tensors_is_not_read(tmp_path: Path) -> None:
    name = "n" * 1000
    save_file({f"{name}{i}": torch.zeros(0) for i in range(9000)}, tmp_path / "a", {"header": "{}"})
    with pytest.raises(ValueError, match="bytes before the tensors, more than 8388608"):
        read(tmp_path / "a", {})


def test_a_header_that_would_not_be_read_is_not_written(tmp_path: Path) -> None:
    nest: Any = 1
    for _ in range(40):
        nest = [nest]
    with pytest.raises(ValueError, match="more than 32 levels"):
        write_tensor_file(tmp_path / "a", "header", {"x": nest}, {})
    assert not list(tmp_path.iterdir())


def test_another_file_is_told_as_it_is(tmp_path: Path) -> None:
    write_tensor_file(tmp_path / "a", "header", {"x": 1}, {"a": torch.ones(1)})
    with (
        pytest.raises(OtherFileError, match=r"^of another kind$"),
        open_tensor_file(tmp_path / "a", KIND),
    ):
        raise OtherFileError("of another kind")


def test_another_key_is_no_header(tmp_path: Path) -> None:
    write_tensor_file(tmp_path / "a", "other", {"x": 1}, {"a": torch.ones(1)})
    with pytest.raises(ValueError, match="safetensors without its header"):
        read(tmp_path / "a", {})
    with safe_open(tmp_path / "a", framework="pt") as file:
        assert json.loads(file.metadata()["other"])["x"] == 1


NOT_FINITE: dict[str, Callable[[], Tensor]] = {
    "NaN": lambda: torch.tensor([0.0, math.nan, 1.0]),
    "inf": lambda: torch.tensor([0.0, math.inf]),
    "-inf": lambda: torch.tensor([[-math.inf]], dtype=torch.float16),
    "a number": lambda: torch.tensor(math.nan),
}


@pytest.mark.parametrize("case", NOT_FINITE)
def test_not_finite(case: str) -> None:
    with pytest.raises(ValueError, match="weight must be finite"):
        check_finite("weight", NOT_FINITE[case]())


@pytest.mark.parametrize(
    "tensor", [torch.zeros(0), torch.tensor(3), torch.tensor([True]), -torch.ones(2)]
)
def test_finite(tensor: Tensor) -> None:
    check_finite("weight", tensor)


def test_messages_are_one_line() -> None:
    assert one_line("a\n b\t c\x1b[31m", 50) == "a b c?[31m"
    for length in (3, 10, 299):
        assert len(one_line("word " * 10**5, length)) == length
    assert one_line("short", 5) == "short"
    assert short_path(Path("/a/b.oinr")) == "/a/b.oinr"
    assert short_path(Path("/" + "long/" * 100 + "b.oinr")).endswith("long/b.oinr")
    assert len(short_path(Path("/" + "long/" * 100 + "b.oinr"))) <= 120


def test_a_message_has_room_for_its_reason() -> None:
    said = KIND.message(Path("/" + "p" * 250), ValueError("r" * 1000))
    assert len(said) == LONGEST_MESSAGE
    assert said.endswith("; write it again")
