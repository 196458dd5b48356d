"""Checkpoints are read, and never run."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from t4spp.errors import WeightsError
from t4spp.weights import read_checkpoint

TENSORS = {"mask_decoder.a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (_touch, (str(self.path),))


def _touch(path: str) -> str:
    Path(path).write_text("the code has run")
    return path


def assert_same(read: dict[str, torch.Tensor]) -> None:
    assert list(read) == list(TENSORS)
    for name, tensor in TENSORS.items():
        assert torch.equal(read[name], tensor)
        assert read[name].dtype == tensor.dtype


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt", "model"])
def test_safetensors_are_known_by_their_content(tmp_path: Path, name: str) -> None:
    save_file(TENSORS, tmp_path / "x")
    (tmp_path / "x").rename(tmp_path / name)
    read = read_checkpoint(tmp_path / name)
    assert_same({key: read[key] for key in TENSORS})


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "held",
    [
        TENSORS,
        OrderedDict(TENSORS),
        {"model": TENSORS, "epoch": 3},
        {"state_dict": TENSORS},
    ],
    ids=["flat", "ordered", "model", "state_dict"],
)
def test_torch_file_of_tensors_is_read(tmp_path: Path, held: object, zipped: bool) -> None:
    torch.save(held, tmp_path / "sam.pth", _use_new_zipfile_serialization=zipped)
    assert_same(read_checkpoint(tmp_path / "sam.pth"))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("form", ["zip", "legacy", "plain"])
def test_malicious_pickle_does_not_run(tmp_path: Path, form: str) -> None:
    trace = tmp_path / "trace"
    held = {"a": torch.zeros(1), "b": Malicious(trace)}
    path = tmp_path / "model.pt"
    if form == "plain":
        path.write_bytes(pickle.dumps(Malicious(trace)))
    else:
        torch.save(held, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(WeightsError, match=r"is refused: .* could run what somebody put in it"):
        read_checkpoint(path)
    assert not trace.exists()
    # The file is as dangerous as it looks: an unpickler that trusts it runs the code.
    if form == "plain":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert trace.read_text() == "the code has run"


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({}, "holds an empty dict"),
        ([torch.zeros(1)], "holds a list"),
        (torch.zeros(1), "holds a Tensor"),
        ({"a": torch.zeros(1), "n": 3}, "'n' is a int, no tensor"),
        ({"model": {"deep": {"a": torch.zeros(1)}}}, "'deep' is a dict, no tensor"),
        ({3: torch.zeros(1)}, "3 is a Tensor, no tensor"),
    ],
)
def test_torch_file_of_anything_else_is_refused(tmp_path: Path, held: object, said: str) -> None:
    torch.save(held, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=said) as caught:
        read_checkpoint(tmp_path / "x.pt")
    assert "Expected safetensors, or a torch file" in str(caught.value)


def cut_zip() -> bytes:
    written = io.BytesIO()
    torch.save(TENSORS, written)
    return written.getvalue()[:-100]


def other_zip() -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("a.txt", "b")
    return written.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "of no known format: it starts with b'' and has 0 bytes"),
        (b"GGUF\x03\x00\x00\x00\x00\x00", "a GGUF file, which transformers reads"),
        (b"<!DOCTYPE html>", "of no known format: it starts with b'<!DO'"),
        (cut_zip(), "is damaged, or no checkpoint"),
        (other_zip(), "is damaged, or no checkpoint"),
        (b"\x80\x02", "is damaged, or no checkpoint"),
        ((20).to_bytes(8, "little") + b"{not json at all    }", "is damaged safetensors"),
        ((1 << 40).to_bytes(8, "little") + b"{}", "of no known format"),
    ],
    ids=["empty", "gguf", "html", "cut-zip", "other-zip", "cut-pickle", "json", "header"],
)
def test_file_that_is_no_checkpoint_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "x.pt").write_bytes(data)
    with pytest.raises(WeightsError, match=said):
        read_checkpoint(tmp_path / "x.pt")


def test_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"gone\.pt cannot be read: No such file"):
        read_checkpoint(tmp_path / "gone.pt")
