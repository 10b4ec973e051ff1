"""Checkpoints come back bit for bit, and a file that is damaged, hostile or foreign is refused in one line."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import safetensors.torch
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import zoo
from conftest import components_of_run, write_distribution
from zoo import Autoencoder, CheckpointError, DataFacts, MissingComponentError
from zoo.config import components_of
from zoo.contract.registry import Component
from zoo.contract.specs import KINDS
from zoo.model import checkpoint, tensor_file
from zoo.model.autoencoder import build

IMAGE_SHAPE = (1, 16, 16)
DATA = DataFacts(IMAGE_SHAPE, ("0", "1", "2", "3"), 576)
ENCODER, DATASET = 0, 4  # places among the components of a record
HOSTILE = "evil\n\x1b[31mred\u202e\x00"
Edit = Callable[[Any], None]


@pytest.fixture(scope="module")
def config() -> zoo.RunConfig:
    encoder = {"name": "mlp", "options": {"hidden": [8]}}
    return zoo.resolve({"encoder": encoder, "dataset": "tiny", "objective": "vae", "seed": 5})


@pytest.fixture(scope="module")
def components(config: zoo.RunConfig) -> list[Component]:
    return components_of_run(config)


@pytest.fixture(scope="module")
def metadata(config: zoo.RunConfig, components: list[Component]) -> checkpoint.Metadata:
    return checkpoint.new_metadata(config, components, DATA, epoch=3)


@pytest.fixture
def model(config: zoo.RunConfig, components: list[Component]) -> Autoencoder:
    """A model whose weights are not those that its seed gives."""
    model = build(config, components_of(config), DATA)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return model


@pytest.fixture
def saved(tmp_path: Path, model: Autoencoder, metadata: checkpoint.Metadata) -> Path:
    """A run directory's checkpoint."""
    path = tmp_path / "run" / "model.safetensors"
    path.parent.mkdir()
    checkpoint.save(path, model, metadata)
    return path


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, *IMAGE_SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def stops_if_it_blocks() -> Iterator[None]:
    """Fail a test that waits for a reader or writer who never comes, where it would hang for ever."""

    def fail(*_: object) -> None:
        raise AssertionError("it blocks")

    previous = signal.signal(signal.SIGALRM, fail)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


class LargestTensor(TorchDispatchMode):
    """Notes the size of the largest tensor that is allocated meanwhile; those on the meta device take no room."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if isinstance(output, Tensor) and output.device.type != "meta":
            self.elements = max(self.elements, output.numel())
        return output


def refusal_of(path: Path) -> str:
    """Return the one line with which a checkpoint is refused."""
    with pytest.raises(CheckpointError) as refused:
        zoo.load(path)
    message = str(refused.value)
    assert message.isprintable()
    return message


def forge(path: Path, *, metadata: Edit = lambda _: None, tensors: Edit = lambda _: None) -> Path:
    """Edit a checkpoint as someone would who knows its format: the checksum is right again afterwards."""
    raw = path.read_bytes()
    record = json.loads(json.loads(header_of(raw))["__metadata__"]["autoencoder_zoo"])
    weights = safetensors.torch.load(raw)
    metadata(record)
    tensors(weights)
    path.write_bytes(tensor_file.encode(checkpoint.KIND, json.dumps(record), weights))
    return path


def row(epoch: int) -> dict[str, float]:
    """Return a row of metrics.csv."""
    return {"epoch": epoch, "train_loss": 0.5 / epoch, "val_loss": 0.6 / epoch, "lr": 0.01, "seconds": 2.0}


def record(epoch: int) -> dict[str, Any]:
    """Return what a history holds of that row."""
    return {"epoch": epoch, "losses": {"train_loss": 0.5 / epoch, "val_loss": 0.6 / epoch}, "lr": 0.01}


def put(*keys: Any, value: Any) -> Edit:
    """Return the edit that sets `record[key][key]… = value`."""

    def edit(record: Any) -> None:
        for key in keys[:-1]:
            record = record[key]
        record[keys[-1]] = value

    return edit


def with_header(raw: bytes, header: str) -> bytes:
    """Return a safetensors file's bytes with another header."""
    length = int.from_bytes(raw[:8], "little")
    encoded = header.encode()
    return len(encoded).to_bytes(8, "little") + encoded + raw[8 + length :]


def header_of(raw: bytes) -> str:
    return raw[8 : 8 + int.from_bytes(raw[:8], "little")].decode()


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


# What comes back


def test_weights_come_back_bit_for_bit(saved: Path, model: Autoencoder) -> None:
    loaded = zoo.load(saved).state_dict()
    assert loaded.keys() == model.state_dict().keys()
    for name, weight in model.state_dict().items():
        assert loaded[name].dtype == weight.dtype
        assert loaded[name].numpy().tobytes() == weight.numpy().tobytes()


def test_a_loaded_model_is_in_eval_mode(saved: Path) -> None:
    assert not any(module.training for module in zoo.load(saved).modules())


def test_a_loaded_models_weights_are_frozen(saved: Path) -> None:
    assert not any(parameter.requires_grad for parameter in zoo.load(saved).parameters())


def test_encode_decode_and_reconstruct_are_deterministic(saved: Path, images: Tensor) -> None:
    model = zoo.load(saved)
    latents = model.encode(images)
    assert torch.equal(model.encode(images), latents)
    assert torch.equal(model.decode(latents), model.decode(latents))
    assert torch.equal(model.reconstruct(images), model.decode(latents))


def test_a_loaded_model_computes_what_the_saved_one_did(saved: Path, model: Autoencoder, images: Tensor) -> None:
    assert torch.equal(zoo.load(saved).reconstruct(images), model.reconstruct(images))


def test_loading_leaves_the_global_random_state_alone(saved: Path) -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    zoo.load(saved)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_loading_leaves_the_gpus_random_state_alone(saved: Path) -> None:
    torch.cuda.manual_seed(123)
    before = torch.cuda.get_rng_state()
    zoo.load(saved)
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_metadata_says_all_that_rebuilds_the_model(saved: Path, config: zoo.RunConfig) -> None:
    metadata = checkpoint.read(saved).metadata
    version = metadata.versions["autoencoder-zoo"]
    records = {c.kind: (c.name, c.distribution, c.version) for c in metadata.components}
    assert metadata.config == config
    assert metadata.config.encoder.options == {"hidden": [8]}
    assert metadata.image_shape == IMAGE_SHAPE
    assert metadata.data.facts == DATA
    assert metadata.value_range == (0.0, 1.0)
    assert metadata.epoch == 3
    assert metadata.versions["torch"] == torch.__version__
    assert records == {
        "encoder": ("mlp", "autoencoder-zoo", version),
        "decoder": ("mlp", "autoencoder-zoo", version),
        "objective": ("vae", "autoencoder-zoo", version),
        "distortion": ("mse", "autoencoder-zoo", version),
        "dataset": ("tiny", "zoo-tiny", "1.0"),
    }


@pytest.mark.parametrize("psnr", [21.5, float("inf")], ids=str)
def test_test_metrics_come_back(tmp_path: Path, model: Autoencoder, metadata: checkpoint.Metadata, psnr: float) -> None:
    """A perfect reconstruction has an infinite PSNR."""
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, model, metadata.model_copy(update={"test_metrics": {"psnr": psnr}}))
    assert checkpoint.read(path).metadata.test_metrics == {"psnr": psnr}


def test_the_history_comes_back(tmp_path: Path, model: Autoencoder, metadata: checkpoint.Metadata) -> None:
    path = tmp_path / "model.safetensors"
    history = checkpoint.history_of([row(1), row(2)])
    checkpoint.save(path, model, metadata.model_copy(update={"history": history}))
    assert [dict(epoch) for epoch in checkpoint.read(path).metadata.history or ()] == [record(1), record(2)]


def test_a_checkpoint_without_a_history_says_so(saved: Path) -> None:
    assert checkpoint.read(forge(saved, metadata=lambda record: record.pop("history"))).metadata.history is None


def test_a_history_keeps_every_part_of_the_loss() -> None:
    (epoch,) = checkpoint.history_of([row(1) | {"train_rate": 0.1, "val_rate": 0.2}])
    assert epoch.losses == {"train_loss": 0.5, "train_rate": 0.1, "val_loss": 0.6, "val_rate": 0.2}


@pytest.mark.parametrize("epochs", [1, 10_000, 10_001, 25_000])
def test_a_long_history_is_thinned_evenly_and_keeps_its_end(epochs: int) -> None:
    kept = [epoch.epoch for epoch in checkpoint.history_of([row(number + 1) for number in range(epochs)])]
    assert len(kept) <= checkpoint.MAX_HISTORY
    assert kept[-1] == epochs
    assert len({after - before for before, after in itertools.pairwise(kept)}) <= 1


@pytest.mark.parametrize(
    "losses",
    [["train_loss", "val_loss"], [f"train_{'x' * 20}_{number}" for number in range(checkpoint.MAX_LOSSES - 2)]],
    ids=["two losses", "very many losses"],
)
def test_the_longest_history_fits_into_a_file(
    losses: list[str], tmp_path: Path, model: Autoencoder, metadata: checkpoint.Metadata
) -> None:
    path = tmp_path / "model.safetensors"
    long = dict.fromkeys(losses, -1 / 3 * 1e-300)
    history = checkpoint.history_of([row(10**6) | long] * checkpoint.MAX_HISTORY)
    checkpoint.save(path, model, metadata.model_copy(update={"history": history}))
    assert checkpoint.read(path).metadata.history == history


def test_a_row_of_too_many_losses_keeps_the_first_ones() -> None:
    (epoch,) = checkpoint.history_of([row(1) | {f"val_{number}": 0.5 for number in range(checkpoint.MAX_LOSSES)}])
    assert len(epoch.losses) == checkpoint.MAX_LOSSES
    assert {"train_loss", "val_loss", "val_0"} <= epoch.losses.keys()


@pytest.mark.parametrize("spelling", [str, Path], ids=["text", "path"])
def test_a_run_directory_and_its_file_are_the_same(saved: Path, images: Tensor, spelling: type) -> None:
    from_directory, from_file = zoo.load(spelling(saved.parent)), zoo.load(spelling(saved))
    assert torch.equal(from_directory.encode(images), from_file.encode(images))


def test_a_file_copied_alone_elsewhere_loads(saved: Path, tmp_path: Path, model: Autoencoder, images: Tensor) -> None:
    copied = shutil.copy(saved, tmp_path / "renamed.bin")
    shutil.rmtree(saved.parent)
    assert torch.equal(zoo.load(copied).encode(images), model.encode(images))


def test_tied_weights_come_back(tmp_path: Path, model: Autoencoder, metadata: checkpoint.Metadata) -> None:
    model.decoder.layers[2].bias = torch.nn.Parameter(torch.arange(256.0))
    model.decoder.register_buffer("extra", model.decoder.layers[2].bias.detach())
    checkpoint.save(tmp_path / "model.safetensors", model, metadata)
    tensors = checkpoint.read(tmp_path / "model.safetensors").tensors
    assert torch.equal(tensors["decoder.extra"], tensors["decoder.layers.2.bias"])


def test_a_model_loads_where_its_dataset_is_not_installed(saved: Path, images: Tensor) -> None:
    forge(saved, metadata=put("components", DATASET, "distribution", value="zoo-gone"))
    assert zoo.load(saved).encode(images).shape == (4, 3)


@pytest.mark.parametrize("name", ["mnist-mlp", "autoencoder-zoo:mnist-mlp"])
def test_a_pretrained_model_opens_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert checkpoint.read(name).path == zoo.installed().model("mnist-mlp").path


@pytest.mark.parametrize("form", ["file", "run directory"])
def test_a_path_that_exists_goes_before_a_models_name(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    (saved if form == "file" else saved.parent).rename(tmp_path / "mnist-mlp")
    monkeypatch.chdir(tmp_path)
    assert checkpoint.read("mnist-mlp").metadata.components[DATASET].name == "tiny"


def test_a_link_to_nowhere_goes_before_a_models_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mnist-mlp").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="No run directory or checkpoint at mnist-mlp"):
        zoo.load("mnist-mlp")


# What is refused: files that are no checkpoints


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    assert "No run directory or checkpoint at" in refusal_of(tmp_path / "missing")


def test_an_unknown_name_is_refused_with_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    message = refusal_of(Path("mnist-mpl"))
    assert message.startswith(
        "No run directory, checkpoint or pretrained model 'mnist-mpl'. Did you mean 'mnist-mlp'? Models: mnist-"
    )


@pytest.mark.parametrize("name", ["mnist-mlp.safetensors", "./mnist-mlp", "nowhere/mnist-mlp"])
def test_what_reads_as_a_path_is_no_models_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="No run directory or checkpoint at"):
        zoo.load(name)


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    assert "holds no model.safetensors" in refusal_of(tmp_path)


def test_a_directory_named_like_a_checkpoint_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "x.safetensors"
    directory.mkdir()
    assert "holds no model.safetensors" in refusal_of(directory)


def test_a_directory_in_the_models_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()
    refusal_of(tmp_path)


@pytest.mark.parametrize("name", ["a" * 5000, "nul\0byte"], ids=["too long", "NUL"])
def test_a_path_that_cannot_be_is_refused(name: str) -> None:
    refusal_of(Path(name))


def test_an_empty_file_is_refused(saved: Path) -> None:
    saved.write_bytes(b"")
    assert "it is empty" in refusal_of(saved)


def test_a_pipe_is_refused_at_once(tmp_path: Path, stops_if_it_blocks: None) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    assert "not a regular file" in refusal_of(tmp_path)


def test_a_device_is_refused(stops_if_it_blocks: None) -> None:
    assert "not a regular file" in refusal_of(Path(os.devnull))


def test_a_file_beyond_the_size_limit_is_refused_unread(saved: Path) -> None:
    os.truncate(saved, checkpoint.KIND.max_bytes + 1)  # a hole: it takes no room
    assert f"at most {checkpoint.KIND.max_bytes}" in refusal_of(saved)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_refused(saved: Path) -> None:
    saved.chmod(0)
    assert "Permission denied" in refusal_of(saved)


def _save_as_in_old_torch(trap: Trap, file: IO[bytes]) -> None:
    torch.save(trap, file, _use_new_zipfile_serialization=False)


def _load_unsafely(file: IO[bytes]) -> None:
    torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    ("save", "unpickle"),
    [(torch.save, _load_unsafely), (_save_as_in_old_torch, _load_unsafely), (pickle.dump, pickle.load)],
    ids=["torch.save", "old torch.save", "pickle"],
)
def test_a_pickle_in_disguise_is_refused_and_never_unpickled(
    tmp_path: Path, save: Callable[[Trap, IO[bytes]], None], unpickle: Callable[[IO[bytes]], Any]
) -> None:
    sprung = tmp_path / "sprung"
    disguised = tmp_path / "model.safetensors"
    with disguised.open("wb") as file:
        save(Trap(sprung), file)
    assert "never unpickles" in refusal_of(disguised)
    assert not sprung.exists()
    with disguised.open("rb") as file:
        unpickle(file)
    assert sprung.exists()  # the trap works


def test_a_picture_in_disguise_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture.safetensors"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(200))
    assert "is not a checkpoint of Autoencoder Zoo" in refusal_of(path)


@pytest.mark.parametrize("entries", [None, {"format": "pt"}, {"format": "pt", "author": "someone"}])
def test_a_safetensors_file_of_someone_else_is_named_as_such(tmp_path: Path, entries: dict[str, str] | None) -> None:
    path = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file({"weight": torch.zeros(3)}, path, entries)
    assert "is a safetensors file, but not a checkpoint that Autoencoder Zoo wrote" in refusal_of(path)


# What is refused: damage


@pytest.mark.parametrize("kept", [1, 7, 8, 9, 100, -4000, -8, -1])
def test_a_truncated_file_is_refused(saved: Path, kept: int) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])
    refusal_of(saved)


def test_a_file_with_something_appended_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes() + b"\0")
    refusal_of(saved)


def test_a_flipped_bit_is_noticed_wherever_it_is(saved: Path) -> None:
    whole = saved.read_bytes()
    body = 8 + len(header_of(whole))
    draw = random.Random(0)
    bits = [draw.randrange(8 * body) for _ in range(300)] + [
        draw.randrange(8 * body, 8 * len(whole)) for _ in range(100)
    ]
    for bit in [*range(64), *bits]:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        saved.write_bytes(damaged)
        refusal_of(saved)


def test_an_edit_without_a_new_checksum_is_noticed(saved: Path) -> None:
    raw = saved.read_bytes()
    saved.write_bytes(with_header(raw, header_of(raw).replace('epoch\\":3', 'epoch\\":4')))
    assert "checksum does not match" in refusal_of(saved)


@pytest.mark.parametrize("name", ["format", "encoder.layers.0.bias"])
def test_a_name_that_stands_twice_in_the_header_is_refused(saved: Path, name: str) -> None:
    raw = saved.read_bytes()
    header = header_of(raw)
    entry = re.search(rf'"{re.escape(name)}":({{.*?}}|".*?")', header)
    assert entry
    saved.write_bytes(with_header(raw, header.replace(entry[0], f"{entry[0]},{entry[0]}")))
    refusal_of(saved)


@pytest.mark.parametrize("size", [-1, 1, 2**31])
def test_a_file_of_another_size_than_its_header_says_is_refused_unread(saved: Path, size: int) -> None:
    os.truncate(saved, saved.stat().st_size + size)  # longer by a hole: it takes no room
    assert "is damaged: it must have" in refusal_of(saved)


@pytest.mark.parametrize(
    "header",
    ["[" * 100_000, '{"a":' * 100_000, "[]", "null", '{"__metadata__":null}', '{"__metadata__":[]}', '{"a":NaN}'],
    ids=["deep list", "deep object", "list", "null", "null metadata", "list metadata", "NaN"],
)
def test_a_header_that_is_no_header_is_refused(saved: Path, header: str) -> None:
    saved.write_bytes(with_header(saved.read_bytes(), header))
    refusal_of(saved)


def test_a_header_beyond_the_limit_is_refused(saved: Path) -> None:
    raw = saved.read_bytes()
    saved.write_bytes(with_header(raw, header_of(raw) + " " * checkpoint.KIND.max_header_bytes))
    refusal_of(saved)


def test_a_header_of_more_values_than_a_model_needs_is_refused(saved: Path) -> None:
    raw = saved.read_bytes()
    values = ",".join(["[]"] * 500_000)  # 1.5 MB, which would be 50 MB as Python's lists
    saved.write_bytes(with_header(raw, f'{header_of(raw)[:-1]},"x":[{values}]}}'))
    refusal_of(saved)


def test_a_checkpoint_that_could_not_be_read_is_not_written(
    tmp_path: Path, model: Autoencoder, metadata: checkpoint.Metadata
) -> None:
    for number in range(20_000):
        model.register_buffer(f"buffer_{number}", torch.zeros(1))
    with pytest.raises(CheckpointError, match="more than the header of a checkpoint holds"):
        checkpoint.save(tmp_path / "model.safetensors", model, metadata)
    assert not list(tmp_path.iterdir())


# What is refused: contents, though the checksum is right


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_saved(saved: Path, model: Autoencoder, value: float) -> None:
    before = saved.read_bytes()
    with torch.no_grad():
        model.decoder.layers[0].weight[0, 0] = value
    with pytest.raises(CheckpointError, match=r"decoder\.layers\.0\.weight"):
        checkpoint.save(saved, model, checkpoint.read(saved).metadata)
    assert saved.read_bytes() == before


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_loaded(saved: Path, value: float) -> None:
    forge(saved, tensors=lambda weights: weights["encoder.layers.0.bias"].fill_(value))
    assert "'encoder.layers.0.bias'" in refusal_of(saved)


def _reshape(weights: dict[str, Tensor]) -> None:
    weights["encoder.layers.0.bias"] = torch.zeros(9)


def _flatten(weights: dict[str, Tensor]) -> None:
    weights["encoder.layers.0.weight"] = weights["encoder.layers.0.weight"].flatten()


def _retype(weights: dict[str, Tensor]) -> None:
    weights["encoder.layers.0.bias"] = torch.zeros(8, dtype=torch.float64)


def _remove(weights: dict[str, Tensor]) -> None:
    del weights["encoder.layers.0.bias"]


def _add(weights: dict[str, Tensor]) -> None:
    weights["encoder.layers.9.bias"] = torch.zeros(2)


def _empty(weights: dict[str, Tensor]) -> None:
    weights.clear()


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (_reshape, "'encoder.layers.0.bias'"),
        (_flatten, "'encoder.layers.0.weight'"),
        (_retype, "must be (8,) torch.float32, got (8,) torch.float64"),
        (_remove, "lacks the weight 'encoder.layers.0.bias' (1 missing)"),
        (_add, "unknown weight 'encoder.layers.9.bias' (1 unknown)"),
        (_empty, "lacks the weight"),
    ],
)
def test_weights_that_are_not_the_models_are_refused(saved: Path, edit: Edit, complaint: str) -> None:
    assert complaint in refusal_of(forge(saved, tensors=edit))


def test_weights_of_a_type_that_safetensors_cannot_give_are_refused(saved: Path) -> None:
    exotic = torch.zeros(8, dtype=torch.float8_e8m0fnu)
    refusal_of(forge(saved, tensors=put("encoder.layers.0.bias", value=exotic)))


def _largest_of_all(record: Any) -> None:
    record["data"]["image_shape"] = [65_536] * 3
    record["config"]["latent_dim"] = 4096
    record["config"]["encoder"]["options"]["hidden"] = []


@pytest.mark.parametrize(
    "edit",
    [
        put("config", "encoder", "options", "hidden", value=[10**9]),
        put("config", "encoder", "options", "hidden", value=[8] * 1000),
        put("config", "latent_dim", value=10**9),
        put("data", "image_shape", value=[65_536] * 3),
        put("data", "image_shape", value=[10**9] * 3),
        _largest_of_all,
    ],
    ids=["wide layer", "many layers", "latent", "large images", "huge images", "all at once"],
)
def test_a_config_bomb_is_refused(saved: Path, edit: Edit) -> None:
    refusal_of(forge(saved, metadata=edit))


def test_weights_are_compared_with_the_config_before_anything_is_allocated(saved: Path) -> None:
    forge(saved, metadata=put("data", "image_shape", value=[1, 1024, 1024]))
    with LargestTensor() as largest:
        refusal_of(saved)
    assert 0 < largest.elements <= 256 * 64  # the largest weight in the file


@pytest.mark.parametrize(
    "history",
    [
        [record(1)] * (checkpoint.MAX_HISTORY + 1),
        [record(1) | {"losses": {"val_loss": "Infinity"}}],
        [record(1) | {"lr": "NaN"}],
        [record(1) | {"epoch": 0}],
        [record(1) | {"more": 1}],
        [{"epoch": 1}],
        [[1, 0.5, 0.6, 0.01]],
        HOSTILE,
    ],
    ids=["too long", "infinite", "NaN", "epoch 0", "unknown column", "missing columns", "list", "text"],
)
def test_a_history_that_is_none_is_refused(saved: Path, history: Any) -> None:
    assert "invalid metadata: history" in refusal_of(forge(saved, metadata=put("history", value=history)))


@pytest.mark.parametrize(
    ("edit", "place"),
    [
        (put("data", value=None), "data"),
        (put("data", value=[1, 16, 16]), "data"),
        (put("data", "image_shape", value=[0, 16, 16]), "data.image_shape.0"),
        (put("data", "image_shape", value=[1, 16]), "data.image_shape"),
        (put("data", "classes", value=[3]), "data.classes.0"),
        (put("data", "classes", value=[""]), "data.classes.0"),
        (put("data", "classes", value=["x" * 101]), "data.classes.0"),
        (put("data", "classes", value=["x"] * (checkpoint.MAX_CLASSES + 1)), "data.classes"),
        (put("data", "train_count", value=-1), "data.train_count"),
        (put("data", "path", value="/etc/passwd"), "data.path"),
        (put("components", value={}), "components"),
        (put("components", value=[]), "components"),
        (put("components", ENCODER, value=None), "components.0"),
        (put("components", ENCODER, "kind", value="wizard"), "components.0.kind"),
        (put("config", "distortion", value=[]), "config.distortion"),
        (put("config", "distortion", value=[3]), "config.distortion.0"),
        (put("config", "distortion", value="mse+"), "config.distortion"),
        (put("config", "distortion", 0, "weight", value=0), "config.distortion.0.weight"),
        (put("config", "distortion", 0, "weight", value="Infinity"), "config.distortion.0.weight"),
        (put("config", "conditional", value="perhaps"), "config.conditional"),
        (put("config", "label_dropout", value=2), "config.label_dropout"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hostile_values_of_format_2_are_refused_by_their_place(saved: Path, edit: Edit, place: str) -> None:
    assert f"invalid metadata: {place}" in refusal_of(forge(saved, metadata=edit))


def _twice(record: Any) -> None:
    record["components"].append(record["components"][ENCODER])


def _in_another_order(record: Any) -> None:
    record["components"].reverse()


def _two_distortions(record: Any) -> None:
    record["config"]["distortion"] *= 2


@pytest.mark.parametrize("edit", [_twice, _in_another_order, _two_distortions])
def test_components_that_are_not_those_of_the_config_are_refused(saved: Path, edit: Edit) -> None:
    kinds = "components must be those of its config: encoder, decoder, objective, distortion, "
    assert kinds in refusal_of(forge(saved, metadata=edit))


def test_a_class_that_the_weights_know_nothing_of_is_refused(saved: Path) -> None:
    assert "must be " in refusal_of(forge(saved, metadata=put("config", "conditional", value=True)))


def test_one_class_does_not_fit_a_conditional_model(saved: Path) -> None:
    forge(saved, metadata=put("config", "conditional", value=True))
    forge(saved, metadata=put("data", "classes", value=["a"]))
    assert "does not fit its own config: --conditional needs" in refusal_of(saved)


def test_the_distortion_of_a_checkpoint_decides_what_is_an_image(saved: Path, images: Tensor) -> None:
    """With another distortion the same weights give other images: so it is in the file."""

    def of_logits(record: Any) -> None:
        record["config"]["distortion"][0]["name"] = record["components"][3]["name"] = "bernoulli"

    plain = zoo.load(saved).reconstruct(images)
    torch.testing.assert_close(zoo.load(forge(saved, metadata=of_logits)).reconstruct(images), plain.sigmoid())


@pytest.mark.parametrize(
    "edit",
    [
        put("versions", value={str(number): "1" for number in range(checkpoint.MAX_VALUES)}),
        put("components", ENCODER, value={str(number): 0 for number in range(checkpoint.MAX_VALUES)}),
        put("history", value=[{str(number): 0 for number in range(checkpoint.MAX_VALUES)}]),
    ],
    ids=["versions", "component", "history"],
)
def test_metadata_of_too_many_values_is_refused_before_each_is_looked_at(saved: Path, edit: Edit) -> None:
    assert "invalid metadata: it has too many values" in refusal_of(forge(saved, metadata=edit))


def test_a_pretrained_models_file_is_validated_as_any_other(
    saved: Path, tmp_path: Path, run_zoo: Callable[..., Any]
) -> None:
    package = tmp_path / "site" / "zoo_digits"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "digits.safetensors").write_bytes(saved.read_bytes()[:-1])
    (package / "plugin.py").write_text(
        "from zoo import ModelSpec, hookimpl\n@hookimpl\ndef zoo_models():\n    yield ModelSpec(name='digits', "
        "file='zoo_digits:digits.safetensors', summary='Digits', command='zoo train')\n"
    )
    write_distribution(package.parent, "zoo-digits", {"digits": "zoo_digits.plugin"})
    result = run_zoo("eval", "digits", environment={"PYTHONPATH": str(package.parent)})
    assert (result.status, result.stdout) == (1, "")
    assert re.fullmatch(r"zoo: \S+digits\.safetensors is damaged: .+\n", result.stderr)


def test_a_newer_format_asks_for_an_upgrade(saved: Path) -> None:
    forge(saved, metadata=put("format_version", value=3))
    assert "pip install --upgrade autoencoder-zoo" in refusal_of(saved)


def test_a_number_beyond_all_is_refused_though_it_is_json(saved: Path) -> None:
    raw = saved.read_bytes()
    record = json.loads(header_of(raw))["__metadata__"]["autoencoder_zoo"].replace('"lr":0.01', '"lr":1e999')
    saved.write_bytes(tensor_file.encode(checkpoint.KIND, record, safetensors.torch.load(raw)))
    assert "a number is not finite" in refusal_of(saved)


def test_metadata_that_is_nested_too_deeply_is_refused(saved: Path) -> None:
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    forge(saved, metadata=put("config", "encoder", "options", "hidden", value=deep))
    assert "nested too deeply" in refusal_of(saved)


@pytest.mark.parametrize("kind", KINDS)
def test_a_config_that_names_another_component_is_refused(saved: Path, kind: str) -> None:
    """Its name is printed by `zoo eval`, and only a component's own name is known to be harmless."""
    path = ("config", kind, 0, "name") if kind == "distortion" else ("config", kind, "name")
    forge(saved, metadata=put(*path, value=HOSTILE))
    assert f"its config has another {kind} than its components" in refusal_of(saved)


def test_a_component_may_be_named_with_its_distribution(saved: Path) -> None:
    forge(saved, metadata=put("config", "encoder", "name", value="autoencoder-zoo:mlp"))
    assert zoo.load(saved).latent_dim == 3


def _rename_encoder(name: str, distribution: str = "autoencoder-zoo", version: str = "1") -> Edit:
    def edit(record: Any) -> None:
        record["config"]["encoder"]["name"] = name
        record["components"][ENCODER].update(name=name, distribution=distribution, version=version)

    return edit


def test_a_component_that_is_not_installed_is_named_with_its_package(saved: Path) -> None:
    forge(saved, metadata=_rename_encoder("foo", "zoo-foo", "1.2"))
    with pytest.raises(MissingComponentError) as missing:
        zoo.load(saved)
    assert str(missing.value) == "This checkpoint needs encoder 'foo' from zoo-foo 1.2: pip install zoo-foo"


@pytest.mark.parametrize(
    "distribution", ["zoo-foo; touch x", "zoo-foo --index-url http://evil.example", "$(touch x)", "-r x", ""]
)
def test_no_pip_command_is_made_of_text_that_is_no_distributions_name(saved: Path, distribution: str) -> None:
    message = refusal_of(forge(saved, metadata=_rename_encoder("foo", distribution)))
    assert "pip install" not in message


@pytest.mark.parametrize(
    "edit",
    [
        put("components", ENCODER, "name", value=HOSTILE),
        put("components", ENCODER, "distribution", value=HOSTILE),
        put("components", ENCODER, "version", value={"name": HOSTILE}),
        put("config", "encoder", "options", "o" * 3_000_000, value=1),
        put("components", ENCODER, "kind", value=HOSTILE),
        put("config", "encoder", "options", HOSTILE, value=1),
        put("config", "encoder", "options", "hidden", value=HOSTILE),
        put("config", "scheduler", value=HOSTILE),
        put("config", HOSTILE, value=1),
        put("epoch", value=HOSTILE),
        put(HOSTILE, value=1),
    ],
)
def test_hostile_text_in_the_metadata_stays_one_printable_line(saved: Path, edit: Edit) -> None:
    assert len(refusal_of(forge(saved, metadata=edit))) < 1000


@pytest.mark.parametrize("name", [HOSTILE, "../../etc/passwd", "a" * 100_000], ids=["escapes", "path", "long"])
def test_hostile_names_of_weights_stay_one_printable_line(saved: Path, name: str) -> None:
    forge(saved, tensors=put(name, value=torch.zeros(1)))
    assert len(refusal_of(saved)) < 1000


def test_a_hostile_name_of_the_file_stays_one_printable_line(saved: Path) -> None:
    hostile = saved.rename(saved.with_name("evil\n\x1b[31m.safetensors"))
    hostile.write_bytes(b"")
    refusal_of(hostile)


def _places(record: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in nested JSON."""
    items = record.items() if isinstance(record, dict) else enumerate(record) if isinstance(record, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _places(value, (*path, key))


def test_any_value_may_stand_anywhere_in_the_metadata_and_only_checkpoint_errors_come(saved: Path) -> None:
    whole = saved.read_bytes()
    record = json.loads(json.loads(header_of(whole))["__metadata__"]["autoencoder_zoo"])
    refusals = []
    for place in _places(record):
        for value in (None, -1, 2**63, HOSTILE, [[]]):
            saved.write_bytes(whole)
            forge(saved, metadata=put(*place, value=value))
            try:
                zoo.load(saved)
            except CheckpointError as error:
                refusals.append(str(error))
    assert len(refusals) > 100
    assert all(map(str.isprintable, refusals))


WATCHED_LOAD = """
import json, pathlib, pickle, sys
import zoo

good, *hostile = sys.argv[1:]
seen = []
zoo.load(good)  # imports the components, and what torch itself imports late
sys.addaudithook(lambda event, _: seen.append(event) if event in ("import", "pickle.find_class") else None)
zoo.load(good)
for path in hostile:
    try:
        zoo.load(path)
    except zoo.CheckpointError:
        seen.append("refused")
before = list(seen)
import trap
pickle.loads(pickle.dumps(pathlib.PurePath("a")))
print(json.dumps([before, seen[len(before):]]))
"""


def test_a_checkpoint_imports_and_unpickles_nothing(
    saved: Path, tmp_path: Path, zoo_environment: dict[str, str]
) -> None:
    (tmp_path / "trap.py").write_text("def attack(): ...\n")
    disguised = tmp_path / "pickle.safetensors"
    disguised.write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    hostile = [str(disguised)]
    for number, name in enumerate(["trap", "trap:attack", "trap.attack", "zoo_mlp.networks:MLPEncoder"]):
        record = {"name": name, "distribution": "autoencoder-zoo", "version": "1"}
        forged = Path(shutil.copy(saved, tmp_path / f"{number}.safetensors"))
        forge(forged, metadata=lambda r, record=record: r["components"][ENCODER].update(record))
        hostile.append(str(forged))
    environment = zoo_environment | {"PYTHONPATH": str(tmp_path), "PYTHONWARNINGS": "default"}
    command = [sys.executable, "-c", WATCHED_LOAD, str(saved), *hostile]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    during_loads, afterwards = json.loads(output)
    assert during_loads == ["refused"] * 5
    assert set(afterwards) == {"import", "pickle.find_class"}  # the watch works


# Writing


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_failed_save_leaves_the_old_file_whole_and_nothing_else(
    saved: Path, model: Autoencoder, metadata: checkpoint.Metadata, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = saved.read_bytes()
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(saved, model, metadata.model_copy(update={"epoch": 4}))
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]
