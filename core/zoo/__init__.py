"""Autoencoder Zoo: train, keep, compare and show autoencoders composed from plugins.

    import zoo

    run = zoo.train(encoder="mlp", dataset="mnist", epochs=1)
    model = zoo.load(run.directory)
    latents = model.encode(images)  # (N, 1, 28, 28) in [0, 1] → (N, 3)

Every public name is imported when it is first used: `import zoo` itself imports no torch.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.autoencoder import Autoencoder as Autoencoder
    from zoo.checkpoint import load as load
    from zoo.config import RunConfig as RunConfig
    from zoo.config import resolve as resolve
    from zoo.data import ImageDataset as ImageDataset
    from zoo.data import load_dataset as load_dataset
    from zoo.distortion import Distortion as Distortion
    from zoo.errors import AmbiguousComponentError as AmbiguousComponentError
    from zoo.errors import CheckpointError as CheckpointError
    from zoo.errors import ConfigError as ConfigError
    from zoo.errors import DatasetError as DatasetError
    from zoo.errors import ImageError as ImageError
    from zoo.errors import IncompatibleError as IncompatibleError
    from zoo.errors import MissingComponentError as MissingComponentError
    from zoo.errors import MissingDependencyError as MissingDependencyError
    from zoo.errors import OutputError as OutputError
    from zoo.errors import PluginError as PluginError
    from zoo.errors import TrainingDivergedError as TrainingDivergedError
    from zoo.errors import TrainingInterruptedError as TrainingInterruptedError
    from zoo.errors import UnknownComponentError as UnknownComponentError
    from zoo.errors import UnknownModelError as UnknownModelError
    from zoo.errors import UsageError as UsageError
    from zoo.errors import ZooError as ZooError
    from zoo.evaluation import Evaluation as Evaluation
    from zoo.evaluation import evaluate as evaluate
    from zoo.files import write_atomically as write_atomically
    from zoo.hookspecs import hookimpl as hookimpl
    from zoo.images import read_image as read_image
    from zoo.objective import Objective as Objective
    from zoo.parts import Batch as Batch
    from zoo.parts import DataFacts as DataFacts
    from zoo.parts import Parts as Parts
    from zoo.registry import Component as Component
    from zoo.registry import PretrainedModel as PretrainedModel
    from zoo.registry import Registry as Registry
    from zoo.registry import installed as installed
    from zoo.runs import Run as Run
    from zoo.specs import DatasetSpec as DatasetSpec
    from zoo.specs import DecoderSpec as DecoderSpec
    from zoo.specs import DistortionSpec as DistortionSpec
    from zoo.specs import EncoderSpec as EncoderSpec
    from zoo.specs import MetricSpec as MetricSpec
    from zoo.specs import ModelSpec as ModelSpec
    from zoo.specs import ObjectiveSpec as ObjectiveSpec
    from zoo.training import resume as resume
    from zoo.training import train as train
    from zoo.variational import Variational as Variational
    from zoo.variational import gaussian_kl as gaussian_kl
    from zoo.variational import log_normal as log_normal

_HOMES = {
    "zoo.autoencoder": ("Autoencoder",),
    "zoo.checkpoint": ("load",),
    "zoo.config": ("RunConfig", "resolve"),
    "zoo.data": ("ImageDataset", "load_dataset"),
    "zoo.distortion": ("Distortion",),
    "zoo.errors": (
        "AmbiguousComponentError",
        "CheckpointError",
        "ConfigError",
        "DatasetError",
        "ImageError",
        "IncompatibleError",
        "MissingComponentError",
        "MissingDependencyError",
        "OutputError",
        "PluginError",
        "TrainingDivergedError",
        "TrainingInterruptedError",
        "UnknownComponentError",
        "UnknownModelError",
        "UsageError",
        "ZooError",
    ),
    "zoo.evaluation": ("Evaluation", "evaluate"),
    "zoo.files": ("write_atomically",),
    "zoo.hookspecs": ("hookimpl",),
    "zoo.images": ("read_image",),
    "zoo.objective": ("Objective",),
    "zoo.parts": ("Batch", "DataFacts", "Parts"),
    "zoo.registry": ("Component", "PretrainedModel", "Registry", "installed"),
    "zoo.runs": ("Run",),
    "zoo.specs": (
        "DatasetSpec",
        "DecoderSpec",
        "DistortionSpec",
        "EncoderSpec",
        "MetricSpec",
        "ModelSpec",
        "ObjectiveSpec",
    ),
    "zoo.training": ("resume", "train"),
    "zoo.variational": ("Variational", "gaussian_kl", "log_normal"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605
__version__: str  # read from the installed package when it is first asked for


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = importlib.metadata.version("autoencoder-zoo")
    elif name in _HOME_OF:
        value = getattr(importlib.import_module(_HOME_OF[name]), name)
    else:
        raise AttributeError(f"module 'zoo' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
