"""MNIST is the canonical one, shared with torchvision, and comes out right whatever the cache holds."""

from __future__ import annotations

import fcntl
import hashlib
import lzma
import os
import pwd
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor

from zoo import DatasetError
from zoo_mnist.dataset import mnist

DATA = Path(str(files("zoo_mnist") / "data"))
CHECKSUMS = {name: checksum for checksum, name in map(str.split, (DATA / "SHA256SUMS").read_text().splitlines())}
TEST_FILES = {"t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}
LABEL_COUNTS = {
    "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root where both splits have been laid down; tests only read it."""
    root = tmp_path_factory.mktemp("root")
    for split in LABEL_COUNTS:
        mnist(split, root=str(root))
    return root


@pytest.fixture
def package_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package's data for the plugin to read, which a test may damage."""
    shutil.copytree(DATA, tmp_path / "package" / "data")
    monkeypatch.setattr("zoo_mnist.dataset.files", lambda _: tmp_path / "package")
    return tmp_path / "package" / "data"


def raw(root: Path) -> Path:
    return root / "MNIST" / "raw"


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def state(directory: Path) -> dict[str, tuple[int, int]]:
    """Return which files a directory holds, and when each was written."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in directory.iterdir()}


def check_test_split(tensors: tuple[Tensor, ...]) -> None:
    images, labels = tensors
    header = bytes.fromhex("00000803000027100000001c0000001c")
    content = header + images.numpy().tobytes()
    assert hashlib.sha256(content).hexdigest() == CHECKSUMS["t10k-images-idx3-ubyte"]
    assert labels.bincount().tolist() == LABEL_COUNTS["test"]


# The data


@pytest.mark.parametrize("name", sorted(CHECKSUMS))
def test_the_packed_files_hold_the_canonical_ones(name: str) -> None:
    assert hashlib.sha256(lzma.decompress((DATA / f"{name}.xz").read_bytes())).hexdigest() == CHECKSUMS[name]


def test_the_canonical_checksums_are_those_of_lecuns_files() -> None:
    assert CHECKSUMS == {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }


@pytest.mark.parametrize(("split", "count"), [("train", 60_000), ("test", 10_000)])
def test_a_split_holds_grey_28_by_28_digits_and_their_labels(root: Path, split: str, count: int) -> None:
    images, labels = mnist(split, root=str(root)).tensors
    assert (images.shape, images.dtype) == ((count, 1, 28, 28), torch.uint8)
    assert (labels.shape, labels.dtype) == ((count,), torch.int64)
    assert labels.bincount().tolist() == LABEL_COUNTS[split]


@pytest.mark.parametrize("split", ["train", "test"])
def test_torchvision_reads_what_is_laid_down_here(root: Path, split: str) -> None:
    images, labels = mnist(split, root=str(root)).tensors
    theirs = torchvision.datasets.MNIST(root, train=split == "train", download=False)
    assert torch.equal(images[:, 0], theirs.data)
    assert torch.equal(labels, theirs.targets)


# The cache


@pytest.mark.parametrize("name", sorted(CHECKSUMS))
def test_the_files_laid_down_are_the_canonical_ones(root: Path, name: str) -> None:
    assert checksum(raw(root) / name) == CHECKSUMS[name]


def test_nothing_else_is_laid_down(root: Path) -> None:
    assert names(raw(root)) == set(CHECKSUMS)


def test_the_users_cache_directory_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / name))
    mnist("test")
    assert names(raw(tmp_path / "autoencoder-zoo")) == TEST_FILES


def test_a_tilde_means_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    mnist("test", root="~/images")
    assert names(raw(tmp_path / "images")) == TEST_FILES


def test_what_lies_there_is_used_and_left_alone(root: Path, package_data: Path) -> None:
    for packed in package_data.glob("*.xz"):
        packed.unlink()
    before = state(raw(root))
    check_test_split(mnist("test", root=str(root)).tensors)
    assert state(raw(root)) == before


def _cut_short(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flip(content: bytes) -> bytes:
    return content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]


def _empty(_: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [_cut_short, _flip, _empty])
def test_a_damaged_cached_file_is_repaired(tmp_path: Path, damage: Any) -> None:
    mnist("test", root=str(tmp_path))
    cached = raw(tmp_path) / "t10k-images-idx3-ubyte"
    cached.write_bytes(damage(cached.read_bytes()))
    check_test_split(mnist("test", root=str(tmp_path)).tensors)
    assert checksum(cached) == CHECKSUMS[cached.name]


@pytest.mark.parametrize("occupied", ["root", "root/MNIST", "root/MNIST/raw"])
def test_a_cache_that_cannot_be_made_is_done_without(tmp_path: Path, occupied: str) -> None:
    file = tmp_path / occupied
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("precious")
    check_test_split(mnist("test", root=str(tmp_path / "root")).tensors)
    assert file.read_text() == "precious"


def test_a_directory_in_a_cached_files_place_is_done_without(tmp_path: Path) -> None:
    (raw(tmp_path) / "t10k-images-idx3-ubyte" / "precious").mkdir(parents=True)
    check_test_split(mnist("test", root=str(tmp_path)).tensors)
    assert names(raw(tmp_path)) == TEST_FILES


@pytest.mark.parametrize("target", ["fifo", "/dev/zero"])
def test_what_is_no_file_is_neither_read_nor_replaced(tmp_path: Path, target: str) -> None:
    """A FIFO would block, and a device never end."""
    raw(tmp_path).mkdir(parents=True)
    os.mkfifo(raw(tmp_path) / "fifo")
    (raw(tmp_path) / "t10k-images-idx3-ubyte").symlink_to(target)
    check_test_split(mnist("test", root=str(tmp_path)).tensors)
    assert os.readlink(raw(tmp_path) / "t10k-images-idx3-ubyte") == target
    assert (raw(tmp_path) / "fifo").is_fifo()


def test_a_file_of_any_size_is_repaired(tmp_path: Path) -> None:
    mnist("test", root=str(tmp_path))
    cached = raw(tmp_path) / "t10k-images-idx3-ubyte"
    os.truncate(cached, 2**40)  # a hole: it takes no room
    check_test_split(mnist("test", root=str(tmp_path)).tensors)
    assert checksum(cached) == CHECKSUMS[cached.name]


def test_what_a_killed_process_left_half_written_is_swept(tmp_path: Path) -> None:
    raw(tmp_path).mkdir(parents=True)
    (raw(tmp_path) / ".t10k-images-idx3-ubyte.abcdefgh.tmp").write_bytes(b"half")
    (raw(tmp_path) / ".mine.tmp").write_bytes(b"precious")
    mnist("test", root=str(tmp_path))
    assert names(raw(tmp_path)) == TEST_FILES | {".mine.tmp"}


def test_a_lock_that_is_never_given_back_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo_mnist.dataset.LOCK_SECONDS", 0.1)
    raw(tmp_path).mkdir(parents=True)
    holder = os.open(raw(tmp_path), os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    check_test_split(mnist("test", root=str(tmp_path)).tensors)
    os.close(holder)
    assert names(raw(tmp_path)) == TEST_FILES


def test_a_full_disk_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    check_test_split(mnist("test", root=str(tmp_path)).tensors)
    assert names(raw(tmp_path)) == set()


def test_no_home_directory_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A container's user may have neither HOME nor an entry in the password database."""

    def fail(_: int) -> None:
        raise KeyError("no such user")

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", fail)
    check_test_split(mnist("test").tensors)


EIGHT_AT_ONCE = """
import hashlib, lzma, os, sys
from zoo_mnist.dataset import mnist

def counted(packed, unpack=lzma.decompress):
    os.write(unpacked, b".")
    return unpack(packed)

count, unpacked = os.pipe()
lzma.decompress = counted
ready, start = os.pipe()
children = []
for _ in range(8):
    child = os.fork()
    if child == 0:
        os.close(start)
        os.read(ready, 1)  # returns when the parent lets all go
        status = 1
        try:
            images, labels = mnist("test", root=sys.argv[1]).tensors
            digests = {hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for tensor in (images, labels)}
            status = 0 if digests == set(sys.argv[2:]) else 2
        finally:
            os._exit(status)
    children.append(child)
os.close(start)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
os.close(unpacked)
print(len(os.read(count, 100)))
"""


def test_eight_processes_at_once_all_get_it_right_and_one_unpacks_each_file(tmp_path: Path) -> None:
    tensors = mnist("test", root=str(tmp_path / "expected")).tensors
    digests = [hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for tensor in tensors]
    shared = tmp_path / "shared"
    command = [sys.executable, "-c", EIGHT_AT_ONCE, str(shared), *digests]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    assert result.stdout == f"{[0] * 8}\n{len(TEST_FILES)}\n", result.stderr
    assert {name: checksum(raw(shared) / name) for name in names(raw(shared))} == {
        name: CHECKSUMS[name] for name in TEST_FILES
    }


# The package


def _remove(path: Path) -> None:
    path.unlink()


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _garble(path: Path) -> None:
    path.write_bytes(b"\xff\x00garbage\n" * 5)


def _swap(path: Path) -> None:
    path.write_bytes(lzma.compress(b"valid, and not MNIST"))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("t10k-images-idx3-ubyte.xz", _remove),
        ("t10k-images-idx3-ubyte.xz", _truncate),
        ("t10k-images-idx3-ubyte.xz", _garble),
        ("t10k-images-idx3-ubyte.xz", _swap),
        ("t10k-labels-idx1-ubyte.xz", _truncate),
        ("SHA256SUMS", _remove),
        ("SHA256SUMS", _truncate),
        ("SHA256SUMS", _garble),
    ],
)
def test_a_damaged_package_is_named_with_what_to_type(
    tmp_path: Path, package_data: Path, name: str, damage: Any
) -> None:
    damage(package_data / name)
    with pytest.raises(DatasetError, match=r"pip install --force-reinstall autoencoder-zoo$") as damaged:
        mnist("test", root=str(tmp_path / "root"))
    assert name in str(damaged.value)


def test_a_damaged_package_lays_nothing_down(tmp_path: Path, package_data: Path) -> None:
    _swap(package_data / "t10k-images-idx3-ubyte.xz")
    with pytest.raises(DatasetError):
        mnist("test", root=str(tmp_path / "root"))
    assert not (raw(tmp_path / "root") / "t10k-images-idx3-ubyte").exists()
