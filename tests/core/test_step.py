"""The optimizer step: torch's own, and the same result however many are taken in one call."""

import copy
import platform
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

import zoo
from conftest import differences
from zoo import Batch
from zoo.data import splits as data
from zoo.training import lightning_module
from zoo.training.step import AdversarialStep, CompiledStep, Step

SIZE = 12
BATCHES = 6
SETTINGS = {
    "plain": {},
    "noise": {"objective": "vae"},
    "moving average": {"ema": 0.9},
    "accumulation": {"accumulate": 4},
    "gradient clipping": {"gradient_clip": 0.01},
    "mixed precision": {"precision": "bf16-mixed"},
    "warm-up and cosine": {"scheduler": "cosine", "warmup": 0.5},
    "plateau": {"scheduler": "plateau", "lr": 4e-8, "epochs": 6},
    "early stopping": {"scheduler": "none", "lr": 1e-30, "early_stopping": 2, "epochs": 20},
    "convolutions": {"encoder": "conv"},
}


class Squares(nn.Module):
    """Losses of a small model, one of whose weights takes no part in them."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(SIZE, 4), nn.Tanh(), nn.Linear(4, SIZE))
        self.unused = nn.Parameter(torch.ones(3))
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)

    tallies = ()
    updates_state = False

    def losses(self, batch):
        loss = mse_loss(self.layers(batch.images), batch.images)
        return {"loss": loss, "twice": 2 * loss}


def squares():
    torch.manual_seed(0)
    return Squares()


def adam(model):
    return torch.optim.Adam(model.parameters(), lr=0.01, fused=True)


def batches(size=8):
    images = torch.rand(BATCHES, size, SIZE, generator=torch.Generator().manual_seed(1))
    return [Batch(each, None, torch.tensor(0.5)) for each in images]


def steps(model, optimizer, accumulate=1, clip=None, scaler=None):
    """Train as everyone does."""
    for number, batch in enumerate(batches(), start=1):
        loss = model.losses(batch)["loss"] / accumulate
        (scaler.scale(loss) if scaler else loss).backward()
        if number % accumulate == 0:
            if scaler and clip:
                scaler.unscale_(optimizer)
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            if scaler:
                scaler.step(optimizer)
                scaler.update()
            else:
                optimizer.step()
            optimizer.zero_grad()


def same(model, other):
    return all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("clip", [None, 0.1], ids=["free", "clipped"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_it_is_torchs_step_to_the_last_bit(accumulate, clip):
    plain, ours = squares(), squares()
    steps(plain, adam(plain), accumulate, clip)
    step = Step(ours, adam(ours), batches=accumulate, gradient_clip=clip)
    for number, batch in enumerate(batches(), start=1):
        step(batch, update=number % accumulate == 0)
    assert same(ours, plain)
    assert not same(ours, squares())


@pytest.mark.parametrize("clip", [None, 0.1], ids=["free", "clipped"])
def test_losses_are_scaled_and_gradients_unscaled(clip):
    plain, ours = squares(), squares()
    steps(plain, adam(plain), clip=clip, scaler=torch.amp.GradScaler("cpu"))
    step = Step(ours, adam(ours), gradient_clip=clip, scaler=torch.amp.GradScaler("cpu"))
    for batch in batches():
        step(batch, update=True)
    assert same(ours, plain)


def test_a_step_whose_gradients_overflow_is_left_out():
    model = squares()
    step = Step(model, adam(model), scaler=torch.amp.GradScaler("cpu", init_scale=1e38))
    first = batches()[0]
    step(replace(first, images=1e9 * first.images), update=True)
    assert same(model, squares())
    assert step.scaler.get_scale() < 1e38


class Squashed(nn.Module):
    """Two players, whose convolutions' weights lie channels last and have gradients that do not."""

    tallies = ()
    updates_state = False

    def __init__(self, layout):
        super().__init__()
        torch.manual_seed(0)
        weights = [torch.randn(4, 3, 2, 2).contiguous(memory_format=layout) for _ in range(2)]
        self.own, self.adversary = map(nn.Parameter, weights)

    def losses_of_both(self, batch):
        own, adversary = (weight.flatten(1) @ batch.images.T for weight in (self.own, self.adversary))
        return {"loss": own.square().mean()}, {"loss": (adversary - own.detach()).square().mean()}

    losses = losses_of_both


@pytest.mark.parametrize("batches_a_step", [1, 3])
def test_gradients_of_both_players_lie_in_memory_as_their_weights(batches_a_step):
    """Adam's kernel would take other numbers for those of a weight."""
    models = [Squashed(layout) for layout in (torch.contiguous_format, torch.channels_last)]
    for model in models:
        optimizers = [torch.optim.Adam([weight], lr=0.01, fused=True) for weight in (model.own, model.adversary)]
        step = AdversarialStep(model, *optimizers, batches=batches_a_step)
        for number, batch in enumerate(batches(), start=1):
            step(batch, update=number % batches_a_step == 0)
    for plain, laid in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(laid, plain)


def test_the_losses_of_the_batch_are_returned():
    model = squares()
    batch = batches()[0]
    expected = {name: value.detach() for name, value in model.losses(batch).items()}
    assert Step(model, adam(model))(batch, update=True) == expected


def test_it_goes_on_with_the_optimizers_state():
    whole, parted = squares(), squares()
    step = Step(whole, adam(whole))
    for batch in batches():
        step(batch, update=True)
    optimizer = adam(parted)
    first = Step(parted, optimizer)
    for batch in batches()[:3]:
        first(batch, update=True)
    other = adam(parted)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    rest = Step(parted, other)
    for batch in batches()[3:]:
        rest(batch, update=True)
    assert same(parted, whole)


def test_a_learning_rate_that_changes_takes_effect():
    model, other = squares(), squares()
    step, plain = Step(model, adam(model)), adam(other)
    for rate, batch in zip((0.01, 0.1, 0.001), batches(), strict=False):
        for group in (*step.optimizer.param_groups, *plain.param_groups):
            group.update(lr=rate, betas=(10 * rate / 2, 0.99))
        step(batch, update=True)
        other.losses(batch)["loss"].backward()
        plain.step()
        plain.zero_grad()
    assert same(model, other)


@pytest.mark.filterwarnings("default")  # torch's compiler has some of its own
@pytest.mark.parametrize("clip", [None, 0.1], ids=["free", "clipped"])
def test_a_compiled_step_is_one_graph_and_steps_as_the_plain_one(clip):
    plain, ours = squares(), squares()
    steps(plain, adam(plain), clip=clip)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    step = CompiledStep(ours, adam(ours), 8, gradient_clip=clip)
    rates = torch.optim.lr_scheduler.OneCycleLR(step.optimizer, 0.01, total_steps=100)
    step.optimizer.param_groups[0].update(lr=0.01, betas=(0.9, 0.999))
    for batch in batches():
        step(batch, update=True)
    assert step.compile_seconds > 0
    assert not torch._dynamo.utils.counters["graph_break"]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours.parameters(), plain.parameters(), strict=True))
    rates.step()  # another rate and another momentum are no other graph
    step(batches()[0], update=True)
    step(batches(5)[0], update=True)  # nor is a smaller batch
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.filterwarnings("default")
def test_a_model_that_makes_no_single_graph_is_compiled_in_parts():
    class Chatty(Squares):
        def losses(self, batch):
            torch._dynamo.graph_break()
            return super().losses(batch)

    plain = squares()
    steps(plain, adam(plain))
    torch.manual_seed(0)
    ours = Chatty()
    step = CompiledStep(ours, adam(ours), 8)
    for batch in batches():
        step(batch, update=True)
    assert step.compile_seconds > 0
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours.parameters(), plain.parameters(), strict=True))


@pytest.mark.filterwarnings("default")
def test_buffers_and_convolutions_are_compiled_as_they_are():
    class Convolutions(nn.Module):
        def __init__(self):
            super().__init__()
            convolution = nn.Conv1d(1, 3, 3, bias=False)  # which batch normalisation would take away again
            self.layers = nn.Sequential(convolution, nn.BatchNorm1d(3), nn.GELU(), nn.ConvTranspose1d(3, 1, 3))

        tallies = ()
        updates_state = False

        def losses(self, batch):
            images = batch.images[:, None]
            return {"loss": mse_loss(self.layers(images), images)}

    models = []
    for kind in (Step, lambda model, optimizer: CompiledStep(model, optimizer, 8)):
        torch.manual_seed(0)
        models.append(Convolutions())
        step = kind(models[-1], adam(models[-1]))
        for batch in batches():
            step(batch, update=True)
    plain, compiled = (model.state_dict() for model in models)
    assert all(torch.allclose(value, compiled[name], atol=1e-6) for name, value in plain.items())


@pytest.mark.filterwarnings("default")
def test_a_compiled_step_is_never_taken_for_that_of_another_model():
    """They have the same code and weights of the same shapes; what differs is compiled in."""

    class Scaled(Squares):
        def __init__(self, scale):
            super().__init__()
            self.scale = scale

        def losses(self, batch):
            return {"loss": self.scale * super().losses(batch)["loss"]}

    losses = []
    for scale in (1, 3):
        torch.manual_seed(0)
        model = Scaled(scale)
        step = CompiledStep(model, torch.optim.Adam(model.parameters(), lr=0.0, fused=True), 8)
        losses.append([step(batch, update=True)["loss"].item() for batch in batches()])
    assert losses[1] == pytest.approx([3 * loss for loss in losses[0]])


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("batches_a_call", [1, 4])
def test_how_many_steps_a_call_takes_changes_no_bit_of_a_run(settings, batches_a_call, tmp_path, monkeypatch):
    settings = {"encoder": "mlp", "dataset": "tiny", "batch_size": 64, "epochs": 2, "accelerator": "cpu", **settings}
    many = zoo.train(output=tmp_path / "many", quiet=True, **settings)
    monkeypatch.setattr(data, "SPAN_BATCHES", batches_a_call)
    few = zoo.train(output=tmp_path / "few", quiet=True, **settings)
    assert [name for name in differences(few, many) if not name.startswith("resume")] == []


def test_a_training_has_freed_memory_kept(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(lightning_module, "keep_freed_memory", lambda: calls.append("kept"))
    zoo.train(encoder="mlp", dataset="tiny", epochs=1, accelerator="cpu", output=tmp_path / "run", quiet=True)
    assert calls == ["kept"]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep what is freed as they will")
def test_memory_that_a_step_frees_stays_for_the_next_one():
    script = """
        import resource, torch
        from zoo.training.step import keep_freed_memory

        def page_faults(steps):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(steps):
                tensors = [torch.ones(1 << 22) for _ in range(3)]  # of 16 MiB each
                del tensors
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

        page_faults(5)
        print(page_faults(20))
        keep_freed_memory()
        page_faults(5)
        print(page_faults(20))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    lost, kept = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert kept <= lost / 10  # none may be lost before: what was freed on the way to here is left to chance


# Every optimizer


OPTIMIZERS = {
    "adam": ({}, lambda weights: torch.optim.Adam(weights, lr=0.01, betas=(0.9, 0.999))),
    "adam with weight decay": (
        {"weight_decay": 0.1, "betas": "0.5,0.9"},
        lambda weights: torch.optim.Adam(weights, lr=0.01, betas=(0.5, 0.9), weight_decay=0.1),
    ),
    "adamw": (
        {"optimizer": "adamw", "weight_decay": 0.1},
        lambda weights: torch.optim.AdamW(weights, lr=0.01, weight_decay=0.1),
    ),
    "sgd": ({"optimizer": "sgd"}, lambda weights: torch.optim.SGD(weights, lr=0.01, momentum=0.9)),
    "sgd with weight decay": (
        {"optimizer": "sgd", "betas": "0.5,0", "weight_decay": 0.1},
        lambda weights: torch.optim.SGD(weights, lr=0.01, momentum=0.5, weight_decay=0.1),
    ),
}


@pytest.mark.parametrize(("settings", "torchs"), OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("clip", [None, 0.1], ids=["free", "clipped"])
def test_each_optimizer_is_torchs_own_to_the_last_bit(settings, torchs, clip):
    config = zoo.resolve({"encoder": "mlp", "dataset": "tiny", "lr": 0.01, **settings})
    plain, ours = squares(), squares()
    optimizer = torchs(list(plain.parameters()))
    for group in optimizer.param_groups:
        group["fused"] = config.optimizer != "sgd" or None
    plain.unused.grad = torch.zeros_like(plain.unused)
    for batch in batches():
        plain.losses(batch)["loss"].backward()
        if clip:
            nn.utils.clip_grad_norm_(plain.parameters(), clip)
        optimizer.step()
        for weight in plain.parameters():
            weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
    weights = [weight for weight in ours.parameters() if weight.requires_grad]
    step = Step(ours, lightning_module._optimizer(weights, config), gradient_clip=clip)
    for batch in batches():
        step(batch, update=True)
    assert same(ours, plain)
    assert not same(ours, squares())
