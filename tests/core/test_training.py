"""`zoo.train`: every technique that it offers, on small generated images."""

import itertools
import json
import logging
import re
import sys
import threading

import pytest
import torch

import zoo
import zoo.training.fit
from zoo import Batch
from zoo.config import components_of
from zoo.data.splits import ImageDataset
from zoo.evaluation.metrics import metrics_of
from zoo.evaluation.pictures import draw_reconstructions
from zoo.model import checkpoint
from zoo.training.callbacks import MovingAverage
from zoo_mlp.networks import HiddenSizes, MLPEncoder

SETTINGS = {"encoder": "mlp", "dataset": "tiny", "batch_size": 64, "epochs": 2, "accelerator": "cpu"}


@pytest.fixture
def train(tmp_path):
    numbers = itertools.count()
    return lambda **settings: zoo.train(output=tmp_path / str(next(numbers)), quiet=True, **(SETTINGS | settings))


def weights(run):
    return checkpoint.read(run.directory).tensors


def test_a_run_leaves_what_its_documentation_lists(train):
    run = train()
    names = {path.name for path in run.directory.iterdir()}
    assert names == {"config.json", "model.safetensors", "metrics.csv", "reconstructions.png", "curves.png", "resume"}


def test_the_history_has_a_row_an_epoch(train):
    run = train(epochs=3)
    assert [row["epoch"] for row in run.history] == [1, 2, 3]
    assert {"train_loss", "val_loss", "lr", "images_per_second", "seconds"} <= run.history[0].keys()


def test_training_lowers_the_loss(train):
    run = train(epochs=6)
    assert run.history[-1]["val_loss"] < 0.7 * run.history[0]["val_loss"]


@pytest.mark.parametrize(
    ("encoder", "decoder", "objective"), [*itertools.product(["mlp", "conv"], ["mlp", "conv"], ["ae", "vae"])]
)
def test_every_combination_trains(train, encoder, decoder, objective):
    run = train(encoder=encoder, decoder=decoder, objective=objective, dataset="tiny-colour", epochs=1)
    model = run.load()
    images = torch.rand(2, 3, 17, 20)
    assert model.reconstruct(images).shape == images.shape
    assert model.encode(images).shape == (2, 3)


def test_the_same_config_gives_the_same_weights(train):
    first = train(objective="vae", seed=3)
    again = zoo.train(first.config, output=first.directory.parent / "again", quiet=True)
    assert all(torch.equal(first_, weights(again)[name]) for name, first_ in weights(first).items())


def test_another_seed_gives_other_weights(train):
    first, other = weights(train(seed=1)), weights(train(seed=2))
    assert not torch.equal(first["encoder.layers.0.weight"], other["encoder.layers.0.weight"])


def test_training_leaves_the_global_random_state_alone(train):
    before = torch.get_rng_state()
    train(epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_second_training_in_the_same_process_is_refused_and_the_first_is_as_alone(train, tmp_path, monkeypatch):
    alone, refusals = train(seed=3), []
    step, second_ended = zoo.training.fit.LitAutoencoder.training_step, threading.Event()

    def train_in_a_thread():
        try:
            train(seed=4)
        except zoo.UsageError as error:
            refusals.append(str(error))
        second_ended.set()

    def training_step(self, *arguments):
        if not refusals:
            threading.Thread(target=train_in_a_thread).start()
            assert second_ended.wait(60)
        return step(self, *arguments)

    monkeypatch.setattr(zoo.training.fit.LitAutoencoder, "training_step", training_step)
    first = train(seed=3)
    (refusal,) = refusals
    assert refusal.startswith("This process is training already")
    assert all(torch.equal(weight, weights(alone)[name]) for name, weight in weights(first).items())
    assert len(list(tmp_path.iterdir())) == 2
    assert {logging.getLogger(name).level for name in ("pytorch_lightning", "lightning_fabric")} != {logging.ERROR}


@pytest.mark.parametrize("settings", [{"batch_size": 10**6}, {"strategy": "none"}])
def test_a_training_that_failed_does_not_keep_the_next_from_training(train, settings):
    with pytest.raises(zoo.ConfigError):
        train(**settings)
    assert len(train(epochs=1).history) == 1


@pytest.fixture
def normalised(monkeypatch):
    """Put batch normalisation into the encoder `mlp`."""

    class Normalised(MLPEncoder):
        def __init__(self, image_shape, out_features, *, hidden: HiddenSizes = (64,)):
            super().__init__(image_shape, out_features, hidden=hidden)
            self.layers.append(torch.nn.BatchNorm1d(out_features))

    monkeypatch.setattr("zoo_mlp.networks.MLPEncoder", Normalised)


@pytest.mark.parametrize("batch_size", [2, 5, 115])  # of 576 images; 5 and 115 leave one over
def test_batch_normalisation_trains_where_one_image_is_left_over(train, normalised, batch_size):
    run = train(batch_size=batch_size, epochs=1)
    assert zoo.load(run.directory)(torch.rand(1, 1, 16, 16)).shape == (1, 1, 16, 16)


def test_batches_of_one_are_refused_where_a_component_cannot_train_on_them(train, normalised, tmp_path):
    expected = r"^batch_size \(--batch-size\): encoder 'mlp' cannot train on batches of one image .*"
    with pytest.raises(zoo.ConfigError, match=expected + r"--batch-size 2 or more\.$"):
        train(batch_size=1)
    assert not list(tmp_path.iterdir())


def test_batches_of_one_train_where_the_components_can(train):
    assert len(train(batch_size=1, epochs=1).history) == 1


@pytest.fixture
def spoil_the_test_split(monkeypatch):
    """Return what replaces the test split, when it is read, by what a function makes of it."""
    load_split = zoo.training.fit.load_split

    def spoil(change):
        def read(component, options, split):
            images = load_split(component, options, split)
            return change(images) if split == "test" else images

        monkeypatch.setattr(zoo.training.fit, "load_split", read)

    return spoil


def test_the_test_images_decide_nothing_but_the_test_metrics(train, spoil_the_test_split):
    plain = train()
    spoil_the_test_split(lambda images: ImageDataset(255 - images.images, images.labels))
    spoiled = train()
    assert weights(spoiled).keys() == weights(plain).keys()
    assert all(torch.equal(tensor, weights(plain)[name]) for name, tensor in weights(spoiled).items())
    assert [row["val_loss"] for row in spoiled.history] == [row["val_loss"] for row in plain.history]
    assert spoiled.test_metrics["mse"] > 2 * plain.test_metrics["mse"]


def test_a_test_split_that_cannot_be_read_is_heard_of_before_training(train, spoil_the_test_split, tmp_path):
    def fail(images):
        raise zoo.DatasetError("the test images are damaged")

    spoil_the_test_split(fail)
    with pytest.raises(zoo.DatasetError, match="damaged"):
        train()
    assert not list(tmp_path.iterdir())


def lr(run):
    return [row["lr"] for row in run.history]


def test_without_a_scheduler_the_learning_rate_stays(train):
    assert lr(train(scheduler="none", lr=0.004)) == [0.004, 0.004]


def test_one_cycle_rises_and_falls_to_nothing(train):
    rates = lr(train(scheduler="one-cycle", epochs=5))
    assert max(rates) > rates[0]
    assert rates[-1] < 0.01 * max(rates)


def test_one_cycle_rises_for_the_share_of_steps_that_warmup_gives(train):
    rates = lr(train(scheduler="one-cycle", epochs=5, warmup=0.8, lr=0.01))
    assert rates.index(max(rates)) == 3


def test_cosine_falls_to_nothing(train):
    rates = lr(train(scheduler="cosine", epochs=4))
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_warmup_multiplies_the_cosine(train):
    rates = lr(train(scheduler="cosine", epochs=4, warmup=0.5, lr=0.01))
    assert rates[0] == pytest.approx(0.01 * 0.8536 * 10 / 19, rel=0.05)
    assert rates[1] == pytest.approx(0.01 * 0.5, rel=0.05)


def test_multi_step_lowers_the_learning_rate_after_its_milestones(train):
    settings = {"scheduler": "multi-step", "factor": 0.5, "lr": 0.004}
    assert lr(train(epochs=4, milestones="1,3", **settings)) == [0.002, 0.002, 0.001, 0.001]
    assert lr(train(epochs=2, **settings)) == [0.004, 0.004]


def test_a_milestone_leaves_the_epoch_before_it_as_it_is(train):
    plain = weights(train(epochs=1, scheduler="none", lr=0.004))
    stepped = weights(train(epochs=1, scheduler="multi-step", milestones="1", lr=0.004))
    assert all(torch.equal(weight, stepped[name]) for name, weight in plain.items())


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_every_optimizer_lowers_the_loss(train, optimizer):
    run = train(epochs=4, optimizer=optimizer, lr=0.3 if optimizer == "sgd" else 0.01)
    assert run.history[-1]["val_loss"] < 0.9 * run.history[0]["val_loss"]


@pytest.mark.parametrize("distortion", ["mse", "l1", "bernoulli", "bernoulli+0.5*l1"])
@pytest.mark.parametrize("objective", ["ae", "vae"])
def test_every_distortion_trains(train, distortion, objective):
    run = train(distortion=distortion, objective=objective, epochs=1)
    images = run.load().reconstruct(torch.rand(2, 1, 16, 16))
    assert images.shape == (2, 1, 16, 16)
    assert "bernoulli" not in distortion or 0 <= float(images.min()) <= float(images.max()) <= 1


def test_a_conditional_model_uses_the_class(train):
    """The label is the blob's quadrant: with it, one latent number says more than without."""
    settings = {"latent_dim": 1, "epochs": 8}
    told = train(conditional=True, label_dropout=0, **settings)
    untold = train(**settings)
    assert told.history[-1]["val_loss"] < 0.9 * untold.history[-1]["val_loss"]
    model = told.load()
    assert model.classes == ("0", "1", "2", "3")
    latents = torch.zeros(4, 1)
    images = model.decode(latents, torch.arange(4))
    assert len({tuple(image.flatten().tolist()) for image in images}) == 4


def test_a_class_that_a_conditional_model_does_not_know_is_unknown_to_it(train, tmp_path):
    model = train(conditional=True, epochs=1).load()
    images = torch.randint(0, 256, (4, 1, 16, 16), dtype=torch.uint8)
    known, unknown = (ImageDataset(images, torch.tensor(labels)) for labels in ([4, 0, 4, 4], [-1, 0, 4, 9]))
    assert metrics_of(model, unknown) == metrics_of(model, known)
    draw_reconstructions(model, unknown.images, tmp_path / "grid.png", labels=unknown.labels)
    loss, other = (model.losses(Batch(images / 255, each.labels, torch.ones(())))["loss"] for each in (known, unknown))
    assert torch.equal(loss, other)


def test_plateau_halves_the_learning_rate_when_validation_stalls(train):
    rates = lr(train(scheduler="plateau", epochs=6, lr=4e-8))
    assert rates[0] == 4e-8
    assert rates[-1] == 2e-8


def test_early_stopping_ends_before_the_last_epoch(train):
    run = train(epochs=20, scheduler="none", lr=1e-30, early_stopping=2)
    assert len(run.history) == 3


def test_the_moving_average_of_the_weights_is_what_is_kept(train):
    settings = {"epochs": 1, "scheduler": "none"}
    plain, average = weights(train(**settings)), weights(train(ema=0.9, **settings))
    start = zoo.model.autoencoder.build(
        (config := zoo.resolve(SETTINGS)),
        components_of(config),
        zoo.DataFacts((1, 16, 16)),
    ).state_dict()
    name = "encoder.layers.0.weight"
    moved_plain, moved_average = ((w[name] - start[name]).norm() for w in (plain, average))
    assert 0 < moved_average < moved_plain


def test_gradient_clipping_changes_the_steps(train):
    settings = {"epochs": 1, "scheduler": "none"}
    free, clipped = weights(train(**settings)), weights(train(gradient_clip=1e-4, **settings))
    assert not torch.equal(free["encoder.layers.0.weight"], clipped["encoder.layers.0.weight"])


def test_accumulating_two_batches_equals_one_of_twice_the_size(train):
    settings = {"scheduler": "none", "epochs": 1, "validation_fraction": 0.2}  # 512 images: 8 or 4 whole batches
    accumulated = weights(train(batch_size=64, accumulate=2, **settings))
    whole = weights(train(batch_size=128, **settings))
    assert all(torch.allclose(tensor, whole[name], atol=1e-5) for name, tensor in accumulated.items())


def test_mixed_precision_keeps_float32_weights_near_those_of_full_precision(train):
    mixed, full = train(precision="bf16-mixed"), train()
    assert mixed.history[-1]["val_loss"] == pytest.approx(full.history[-1]["val_loss"], rel=0.05)
    assert {tensor.dtype for tensor in weights(mixed).values()} == {torch.float32}


def test_a_compiled_step_trains_like_a_plain_one(train, tmp_path, capsys):
    plain = train()
    compiled = zoo.train(output=tmp_path / "compiled", compile=True, **SETTINGS)
    assert compiled.history[-1]["train_loss"] == pytest.approx(plain.history[-1]["train_loss"], rel=1e-4)
    lines = capsys.readouterr().out.splitlines()
    told, *epochs = [line for line in lines if " % " not in line]  # on a slow machine there is progress between
    assert re.fullmatch(r"compiled in \d+\.\d s", told)
    assert [line.split()[0] for line in epochs[: len(compiled.history)]] == ["epoch"] * len(compiled.history)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_where_no_compiler_works_one_line_says_what_to_install(train, monkeypatch, tmp_path, accumulate):
    import torch._inductor.config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    message = r"^--compile needs a C\+\+ compiler: apt install g\+\+, or train without --compile\.$"
    expected = pytest.raises(zoo.MissingDependencyError, match=message)
    with torch._inductor.config.patch("cpp.cxx", (None, str(tmp_path / "no-compiler"))), expected:
        train(compile=True, accumulate=accumulate)


def test_tensorboard_logs_beside_the_csv_file_by_steps_of_the_optimizer(train):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(logger="tensorboard", accumulate=2)
    events = EventAccumulator(str(run.directory / "tensorboard")).Reload()
    for name in ("train_loss", "val_loss"):
        logged = [(event.step, event.value) for event in events.Scalars(name)]
        assert logged == [(5 * row["epoch"], pytest.approx(row[name])) for row in run.history]  # of 9 batches


def test_without_tensorboard_the_message_holds_the_pip_command(train, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(zoo.MissingDependencyError, match="pip install tensorboard"):
        train(logger="tensorboard")


def test_the_best_epoch_is_kept_not_the_last(train):
    run = train(epochs=4, scheduler="none", lr=0.9)
    losses = [row["val_loss"] for row in run.history]
    assert checkpoint.read(run.directory).metadata.epoch == losses.index(min(losses)) + 1


def test_the_last_epoch_is_kept_where_that_is_asked_for(train):
    run = train(objective="vae", epochs=3, monitor="val_rate", keep="last")
    rates = [row["val_rate"] for row in run.history]
    assert min(rates) < rates[-1]
    assert checkpoint.read(run.directory).metadata.epoch == 3


def test_the_best_epoch_is_that_of_the_monitored_column(train):
    run = train(objective="vae", epochs=4, monitor="val_rate")
    rates, losses = ([row[name] for row in run.history] for name in ("val_rate", "val_loss"))
    assert losses.index(min(losses)) != rates.index(min(rates))
    assert checkpoint.read(run.directory).metadata.epoch == rates.index(min(rates)) + 1


def test_early_stopping_follows_the_monitored_column(train):
    """The KL divergence of a VAE rises while its loss falls."""
    settings = {"objective": "vae", "epochs": 6, "early_stopping": 1, "scheduler": "none"}
    assert len(train(**settings).history) > len(train(**settings, monitor="val_rate").history)


def test_plateau_follows_the_monitored_column(train):
    settings = {"objective": "vae", "epochs": 6, "scheduler": "plateau"}
    assert lr(train(**settings))[-1] == 0.003
    assert lr(train(**settings, monitor="val_rate"))[-1] < 0.003


@pytest.mark.parametrize("monitor", ["val_speed", "train_loss", "lr"])
def test_a_column_that_validation_does_not_give_is_refused_before_training(train, tmp_path, monitor):
    columns = r"val_distortion, val_loss, val_rate\.$"
    with pytest.raises(zoo.ConfigError, match=rf"^monitor \(--monitor\): '{monitor}' is no .* choose one of {columns}"):
        train(objective="vae", monitor=monitor)
    assert not list(tmp_path.iterdir())


def test_a_monitored_column_that_is_not_finite_stops_the_training(train, monkeypatch):
    from zoo_objectives.vae import VAE

    losses = VAE.losses

    def spoiled(self, *arguments):
        given = losses(self, *arguments)
        return given | {"rate": given["rate"] * float("nan")}

    monkeypatch.setattr(VAE, "losses", spoiled)
    with pytest.raises(zoo.TrainingDivergedError, match=r"^val_rate became nan at epoch 1, step 9\."):
        train(objective="vae", monitor="val_rate")


@pytest.mark.parametrize(("keep", "epoch", "why"), [("best", 1, r"lowest val_rate \d\.\d{5}"), ("last", 3, "the last")])
def test_the_report_says_which_epoch_is_kept_and_why(run_zoo, keep, epoch, why):
    result = run_zoo(
        "train", "--encoder", "mlp", "--dataset", "tiny", "--objective", "vae", "--epochs", 3, "--output", "run",
        "--monitor", "val_rate", "--keep", keep,
    )  # fmt: skip
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("kept"))
    assert re.fullmatch(rf"kept  run/model\.safetensors  epoch {epoch} of 3: {why}", line)


def test_a_moving_average_warms_up(train, monkeypatch):
    """The recurrence is evaluated in float64, from the weights after each step."""
    seen = []
    on_batch_end = MovingAverage.on_batch_end

    def watch(self, trainer, pl_module, loss, count):
        seen.append(pl_module.autoencoder.encoder.layers[0].weight.detach().double())
        on_batch_end(self, trainer, pl_module, loss, count)

    monkeypatch.setattr(MovingAverage, "on_batch_end", watch)
    run = train(epochs=4, ema=0.5, keep="last")
    average = seen[0]
    for step, current in enumerate(seen[1:], start=1):
        decay = min(0.5, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * current
    assert len(seen) == 36
    torch.testing.assert_close(weights(run)["encoder.layers.0.weight"].double(), average, atol=1e-6, rtol=1e-5)


def test_a_moving_average_does_not_spoil_a_short_run(train):
    plain, averaged = train(epochs=3), train(epochs=3, ema=0.999)
    assert averaged.history[-1]["val_loss"] < 1.2 * plain.history[-1]["val_loss"]


def test_divergence_names_epoch_and_step_and_keeps_the_last_good_weights(train, tmp_path):
    with pytest.raises(zoo.TrainingDivergedError, match="training loss became nan at epoch 2, step 4"):
        train(objective={"name": "diverging", "options": {"after": 12}})  # 9 batches an epoch
    kept = checkpoint.read(tmp_path / "0")
    assert kept.metadata.epoch == 1
    assert kept.metadata.test_metrics is None


def test_the_config_in_the_checkpoint_holds_every_option(train):
    run = train(encoder={"name": "mlp", "options": {"hidden": "32,16"}})
    stored = checkpoint.read(run.directory).metadata.config
    assert stored.encoder.options == {"hidden": [32, 16]}
    assert stored.decoder.options == {"hidden": [64]}
    assert json.loads(run.config_file.read_text()) == stored.model_dump(mode="json")


def test_validation_uses_the_same_noise_every_epoch(train):
    run = train(objective="vae", scheduler="none", lr=1e-12)
    assert run.history[0]["val_loss"] == pytest.approx(run.history[1]["val_loss"], abs=1e-9)


def test_test_metrics_are_those_of_evaluate(train):
    run = train()
    assert zoo.evaluate(run.directory).metrics == pytest.approx(run.test_metrics)
