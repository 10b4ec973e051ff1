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
    from zoo.config import RunConfig as RunConfig
    from zoo.config import resolve as resolve
    from zoo.contract.distortion import Distortion as Distortion
    from zoo.contract.hookspecs import hookimpl as hookimpl
    from zoo.contract.objective import Objective as Objective
    from zoo.contract.parts import Batch as Batch
    from zoo.contract.parts import DataFacts as DataFacts
    from zoo.contract.parts import Parts as Parts
    from zoo.contract.registry import Component as Component
    from zoo.contract.registry import PretrainedModel as PretrainedModel
    from zoo.contract.registry import Registry as Registry
    from zoo.contract.registry import installed as installed
    from zoo.contract.specs import DatasetSpec as DatasetSpec
    from zoo.contract.specs import DecoderSpec as DecoderSpec
    from zoo.contract.specs import DistortionSpec as DistortionSpec
    from zoo.contract.specs import EncoderSpec as EncoderSpec
    from zoo.contract.specs import MetricSpec as MetricSpec
    from zoo.contract.specs import ModelSpec as ModelSpec
    from zoo.contract.specs import ObjectiveSpec as ObjectiveSpec
    from zoo.contract.variational import Variational as Variational
    from zoo.contract.variational import gaussian_kl as gaussian_kl
    from zoo.contract.variational import log_normal as log_normal
    from zoo.data.images import read_image as read_image
    from zoo.data.splits import ImageDataset as ImageDataset
    from zoo.data.splits import load_dataset as load_dataset
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
    from zoo.evaluation.metrics import Evaluation as Evaluation
    from zoo.evaluation.metrics import evaluate as evaluate
    from zoo.files import write_atomically as write_atomically
    from zoo.model.autoencoder import Autoencoder as Autoencoder
    from zoo.model.checkpoint import load as load
    from zoo.training.fit import resume as resume
    from zoo.training.fit import train as train
    from zoo.training.runs import Run as Run

_HOMES = {
    "zoo.model.autoencoder": ("Autoencoder",),
    "zoo.model.checkpoint": ("load",),
    "zoo.config": ("RunConfig", "resolve"),
    "zoo.data.splits": ("ImageDataset", "load_dataset"),
    "zoo.contract.distortion": ("Distortion",),
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
    "zoo.evaluation.metrics": ("Evaluation", "evaluate"),
    "zoo.files": ("write_atomically",),
    "zoo.contract.hookspecs": ("hookimpl",),
    "zoo.data.images": ("read_image",),
    "zoo.contract.objective": ("Objective",),
    "zoo.contract.parts": ("Batch", "DataFacts", "Parts"),
    "zoo.contract.registry": ("Component", "PretrainedModel", "Registry", "installed"),
    "zoo.training.runs": ("Run",),
    "zoo.contract.specs": (
        "DatasetSpec",
        "DecoderSpec",
        "DistortionSpec",
        "EncoderSpec",
        "MetricSpec",
        "ModelSpec",
        "ObjectiveSpec",
    ),
    "zoo.training.fit": ("resume", "train"),
    "zoo.contract.variational": ("Variational", "gaussian_kl", "log_normal"),
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
