"""The number of CPU threads: a function of the model, given back afterwards; a collapse is said once."""

import pytest
import torch

import zoo
import zoo.training.fit
from zoo.training import threads
from zoo.training.threads import default_threads, has_collapsed, threads_for

SETTINGS = {"encoder": "mlp", "dataset": "tiny", "batch_size": 64, "epochs": 1, "accelerator": "cpu", "quiet": True}


@pytest.mark.parametrize(
    ("work", "available", "expected"),
    [(0, 2, 1), (26e6, 64, 1), (199e6, 64, 1), (200e6, 64, 2), (634e6, 2, 2), (634e6, 64, 6), (1e12, 8, 8)],
)
def test_a_thread_is_added_for_each_share_of_work(work, available, expected):
    assert threads_for(work, available) == expected


def test_the_default_counts_the_models_work():
    small, large = zoo.load("mnist-mlp"), zoo.load("mnist-conv")
    work = 2 * (784 * 64 + 64 * 3) * 2  # an image: a product and a sum for each weight of both networks
    assert default_threads(small, 128, 64) == threads_for(work * 128, 64) == 1
    assert default_threads(small, 4096, 64) == threads_for(work * 4096, 64) == 8
    assert default_threads(large, 128, 2) == 2


@pytest.mark.parametrize(
    ("speed", "best", "cpu_share", "collapsed"),
    [
        (3_625, 99_276, 1.05, True),  # measured: two trainings on two cores
        (43_000, 99_276, 0.8, False),  # another program takes its share
        (57_057, 99_276, 1.5, False),
        (99_276, 0.0, 1.5, False),  # nothing to compare with
        (900, 99_276, 0.01, False),  # the process was stopped and continued
    ],
)
def test_a_collapse_is_known_by_speed_and_cpu_time(speed, best, cpu_share, collapsed):
    assert has_collapsed(speed, best, cpu_share) is collapsed


@pytest.mark.parametrize(("setting", "used"), [(2, 2), (1, 1), (None, 1)])
def test_a_training_has_the_threads_that_are_set_and_gives_torch_its_own_back(tmp_path, monkeypatch, setting, used):
    seen = set()
    step = zoo.training.fit.LitAutoencoder.training_step

    def training_step(self, *arguments):
        seen.add(torch.get_num_threads())
        return step(self, *arguments)

    monkeypatch.setattr(zoo.training.fit.LitAutoencoder, "training_step", training_step)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        zoo.train(threads=setting, output=tmp_path / "run", **SETTINGS)
        assert torch.get_num_threads() == 3
        diverging = {"name": "diverging", "options": {"after": 2}}
        with pytest.raises(zoo.TrainingDivergedError):
            zoo.train(threads=setting, objective=diverging, output=tmp_path / "diverging", **SETTINGS)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert seen == {used}


@pytest.mark.parametrize(("number", "messages"), [(1, 0), (2, 1)])
def test_a_collapse_is_said_once_with_the_remedy(tmp_path, monkeypatch, caplog, number, messages):
    monkeypatch.setattr(threads, "WINDOW_SECONDS", 0)
    monkeypatch.setattr(threads, "has_collapsed", lambda *_: True)
    zoo.train(output=tmp_path / "run", **(SETTINGS | {"threads": number, "epochs": 3}))
    assert len(caplog.messages) == messages
    assert all("--threads 1" in message for message in caplog.messages)
