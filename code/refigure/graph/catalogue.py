"""What a spec may name: models, tasks, optimisers, schedules, recorders; their keys and defaults.

Read by the configuration, so it imports nothing heavy: an entry holds the module that implements
it and the keys that module's `build` takes. A key's shape is its default value, or a type where
there is none; beside it stands what the key means, which `docs/reference/config.md` and the schema
are made of. Defaults may be added but never changed: they are left out of a run's identity.

Entries of papers whose code is not there yet name their module all the same: the graph of their
runs is known and counted, and asking for their targets says in one line what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from refigure.errors import UserError
from refigure.graph.reading import (
    MISSING,
    Items,
    Key,
    Keys,
    Nullable,
    Number,
    OneOf,
    default_of,
    not_negative,
    one_of,
    positive,
    share,
    suggest,
    typed,
)


@dataclass(frozen=True)
class Entry:
    """One thing a spec may name.

    Args:
        module: where `build` (models, tasks, ...) is defined.
        written: key -> what may stand under it.
        meaning: one sentence.
        columns: of a recorder: column that may differ from one epoch to the next, from the start
            on -> the key without which it is not measured, or nothing.
        arrays: of a recorder: those that it may give.
    """

    module: str
    written: dict[str, Key | Any] = field(default_factory=dict)
    meaning: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    arrays: tuple[str, ...] = ()

    @cached_property
    def keys(self) -> dict[str, Any]:
        """Key -> its shape: default value, type (no default), `OneOf`, `Nullable`, `Number`."""
        return {
            name: one.shape if isinstance(one, Key) else one for name, one in self.written.items()
        }

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Key -> default; of a key without one, a value that equals nothing."""
        return {key: default_of(shape) for key, shape in self.keys.items()}

    def value(self, key: str, written: Any, where: str) -> Any:
        """The value of one key, checked with what stands inside it; `MISSING`: the default.

        Raises:
            UserError: it has no default, or the value is of another kind or out of bounds.
        """
        value, one = value_of(self.keys[key], written, where), self.written[key]
        if isinstance(one, Key) and value is not None:
            one.check_inside(value, where)
            if one.inside in NESTED:
                _check_nested(one.inside, value, where)
        return value

    def there(self) -> bool:
        """Whether the module exists (it is looked up, not imported)."""
        # Not by importlib's find_spec: that imports the parent package, and with it perhaps torch.
        path = Path(__file__).parents[1].joinpath(*self.module.split(".")[1:])
        return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _one_of(*words: Any) -> OneOf:
    return OneOf(words)


def _always(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, "")


_LEFT = (
    "C",
    *(f"nnz_{weights}" for weights in ("emb", "x", "h", "d")),
    *("n_voc", "n_x", "n_h", "n_gates", "n_i", "n_f", "n_g", "n_o", "macs", "macs_dense"),
)
"""What is counted of a sparse recurrent network."""

_K = Key(
    positive(int), "Width: the number of filters or units that all layers are multiples of.", 32
)
_DROPOUT = Key(share(0.0), "Rate of dropout.", 0.25)
_OUTPUTS = Key(Nullable(positive(int)), "Numbers of the last layer; null: one a class.", 128)
_PADDING = Key(
    not_negative(int, 4),
    "Black pixels around the image before a crop of its own size: the largest shift.",
    1,
)
_MEAN = Key(
    [0.4914, 0.4822, 0.4465],
    "Mean of each channel that is subtracted, of pixels in [0, 1].",
    [0.5],
    Items(float),
)
_STD = Key(
    [0.2023, 0.1994, 0.2010],
    "Standard deviation of each channel that pixels are divided by.",
    [0.25],
    Items(positive(float)),
)
_CROP = Key(positive(int, 224), "Height and width of the crop after resizing, in pixels.", 32)
_RESIZE = Key(
    positive(int, 256),
    "Height and width to which an evaluation resizes an image before it cuts out the middle, "
    "pixels.",
    36,
)
_FIRST_EPOCH = Key(_one_of(1, 0), "Number of the first epoch where the schedule counts them.", 0)
_SOURCE = Key(str, "The source of the data: a name under `sources` of the configuration.", "digits")
_PARTS = Key(
    Nullable(list),
    "Lengths of the training, validation and test part, in symbols from the start of all files "
    "together; null: the files' names say which part they are.",
    [40800, 7200, 7200],
    Items(positive(int)),
)

NESTED: dict[str, dict[str, Key]] = {
    "noise": {
        "sd": Key(
            not_negative(float), "Its standard deviation, in units of a standardised pixel.", 1.0
        ),
        "seed": Key(not_negative(int), "The seed that it is drawn from.", 0),
    },
    "label_noise": {
        "share": Key(
            share(), "Chance of a label to be drawn anew from all classes, the right one too.", 0.2
        ),
        "seed": Key(not_negative(int), "The seed that they are drawn from.", 228),
    },
    "corruption": {
        "name": Key(OneOf(("noise", "blur")), "What is done.", "blur"),
        "strength": Key(
            positive(float),
            "Standard deviation: of the noise in units of a standardised pixel, of the blur in "
            "pixels.",
            1.0,
        ),
        "seed": Key(not_negative(int, 0), "Seed of the noise.", 1),
    },
}
"""Keys inside those of a recipe. They are checked with it, and read by its module."""

_IMAGES = {
    "source": _SOURCE,
    "order_seed": Key(
        Nullable(not_negative(int), 0),
        "Seed of the order in which images are stored, and so of which are the first; null: the "
        "order of the source's files.",
        228,
    ),
    "classes": Key(
        Nullable(list),
        "Classes that are kept and numbered anew in this order: names, numbers or ranges; null: "
        "all.",
        ["0-79"],
    ),
    "skip": Key(
        not_negative(int, 0), "Training images, the first in the order, that are passed over.", 900
    ),
    "train": Key(
        Nullable(positive(int)), "Training images that are kept, the next in the order.", 2000
    ),
    "test": Key(
        Nullable(not_negative(int)),
        "Test images that are kept; of a source without a test part, those after the training "
        "images.",
        901,
    ),
    "per_class": Key(False, "Keep the first `train` / classes images of each class.", True),
    "validation": Key(
        not_negative(int, 0),
        "So many of the training images that are kept become the test images instead.",
        5000,
    ),
    "stratified": Key(
        Nullable(not_negative(int)),
        "Seed with which scikit-learn chooses the validation images, of each class its share; "
        "null: the last ones are taken.",
        42,
    ),
    "pool": Key(Nullable(positive(int)), "Height and width after average pooling, in pixels.", 16),
    "standardise": Key(
        _one_of("published", "channel", "global"),
        "What pixels are standardised by: the numbers under `mean` and `std`, the moments of each "
        "channel over the training images, or one mean and deviation of all images.",
        "global",
    ),
    "mean": _MEAN,
    "std": _STD,
    "noise": Key(
        Nullable(dict),
        "Gaussian noise that is added once to every standardised pixel.",
        {"sd": 1.0, "seed": 0},
        "noise",
    ),
    "label_noise": Key(
        Nullable(dict),
        "Training labels that are drawn anew.",
        {"share": 0.2, "seed": 228},
        "label_noise",
    ),
    "corruption": Key(
        Nullable(dict),
        "What is done to the test images alone, for the test set of a shifted domain.",
        {"name": "blur", "strength": 1.0},
        "corruption",
    ),
    "bytes": Key(
        False,
        "Keep images as bytes on the device and standardise a batch at a time: a quarter of the "
        "memory, for sets of large images.",
        True,
    ),
}

CATALOGUE: dict[str, dict[str, Entry]] = {
    "model": {
        "convnet": Entry(
            "refigure.models.convnet",
            {
                "k": _K,
                "norm": Key(
                    _one_of("batch", "batch_affine", "none", "weight"),
                    "Normalisation: batch norm without or with scales and shifts, none, or filters "
                    "of fixed norms.",
                    "weight",
                ),
                "depth": Key(Number(int, 4, least=3, most=4), "Number of convolutions: 3 or 4.", 3),
            },
            "A network of three or four convolutions for images of at least 8x8 pixels.",
        ),
        "resnet18": Entry(
            "refigure.models.resnet",
            {
                "k": _K,
                "norm": Key(
                    _one_of("batch", "batch_affine"),
                    "Batch norm without or with scales and shifts.",
                    "batch_affine",
                ),
            },
            "The pre-activation ResNet-18 whose convolutions are scale-invariant as a whole.",
        ),
        "tick_mlp": Entry(
            "refigure.models.tick_mlp",
            {
                "width": Key(positive(int, 32), "Units of a hidden layer.", 64),
                "layers": Key(positive(int, 2), "Number of hidden layers.", 3),
            },
            "The scale-invariant perceptron of the synthetic task, with layer norm and one logit.",
        ),
        "vit": Entry(
            "refigure.models.vit",
            {
                "patch": Key(
                    positive(int, 4),
                    "Height and width of a patch in pixels; divides the image's.",
                    2,
                ),
                "dim": Key(positive(int, 512), "Width of a token.", 64),
                "depth": Key(positive(int, 6), "Number of blocks.", 2),
                "heads": Key(positive(int, 8), "Heads of attention, each of 64 numbers.", 2),
                "mlp": Key(positive(int, 512), "Width inside the perceptrons.", 64),
                "dropout": Key(share(0.1), "Rate of dropout.", 0.0),
            },
            "A vision transformer for small images.",
        ),
        "mlp": Entry(
            "refigure.models.mlp",
            {"k": _K, "layers": Key(positive(int, 2), "Number of hidden layers.", 3)},
            "A perceptron for images: equal hidden layers with biases and ReLU.",
        ),
        "vgg16": Entry(
            "refigure.models.vgg",
            {"k": _K, "dropout": _DROPOUT},
            "VGG16 of any width, without batch norm.",
        ),
        "wide_resnet28": Entry(
            "refigure.models.wide_resnet",
            {
                "k": _K,
                "dropout": _DROPOUT,
                "final_momentum": Key(
                    share(0.9),
                    "Share of a batch in the running moments of the last batch norm.",
                    0.1,
                ),
            },
            "WideResNet-28 of any width; 160 is the width that is called 28-10.",
        ),
        "plain_convnet": Entry(
            "refigure.models.plain_convnet",
            {
                "widths": Key(
                    list, "Filters of each convolution.", [16, 32, 64], Items(positive(int))
                ),
                "head": Key(
                    _one_of("pool", "flatten"),
                    "What the last layer reads: the mean over pixels, or every pixel.",
                    "flatten",
                ),
                "outputs": _OUTPUTS,
            },
            "A small network of strided convolutions with batch norm, for reduced scales.",
        ),
        "resnet50": Entry("refigure.models.torchvision_nets", {}, "torchvision's ResNet-50."),
        "swin_t": Entry(
            "refigure.models.torchvision_nets",
            {
                "drop_path": Key(
                    share(0.1), "Rate of stochastic depth in the last block, rising from 0.", 0.0
                )
            },
            "torchvision's Swin-Tiny.",
        ),
        "torchvision_net": Entry(
            "refigure.models.torchvision_nets",
            {
                "architecture": Key(str, "Name of a classifier of torchvision.", "resnet18"),
                "drop_path": Key(
                    Nullable(share()), "Rate of stochastic depth; null: torchvision's own.", 0.1
                ),
            },
            "Any classifier of torchvision.",
        ),
        "cifar_resnet18": Entry(
            "refigure.models.cifar_resnet",
            {
                "k": Key(positive(int, 64), "Width: the filters of the first stage.", 8),
                "outputs": _OUTPUTS,
            },
            "The usual ResNet-18 for images of 32x32 pixels.",
        ),
        "lstm_classifier": Entry(
            "refigure.models.rnn.lstm",
            {
                "embedding": Key(positive(int), "Numbers of a word's embedding.", 300),
                "hidden": Key(positive(int), "Units of the LSTM.", 128),
                "config": Key(
                    str,
                    "Six letters for embedding, words, weights, gates, neurons and last layer: L "
                    "probabilistic, D deterministic, C no group variables.",
                    "LLLLLL",
                ),
            },
            "An LSTM that reads a document and classifies it.",
        ),
        "lstm_language": Entry(
            "refigure.models.rnn.lstm",
            {
                "hidden": Key(positive(int), "Units of the LSTM.", 256),
                "config": Key(
                    str,
                    "Four letters for weights, gates, neurons and last layer, as of a classifier; "
                    "neurons may also be I (inputs) or R (recurrent).",
                    "LLRL",
                ),
                "forget_bias": Key(0.0, "Bias of the forget gate at the start.", 1.0),
            },
            "An LSTM that predicts the next character or word.",
        ),
    },
    "task": {
        "classification": Entry(
            "refigure.tasks.classification",
            {
                "loss": Key(
                    _one_of("cross_entropy", "squared"),
                    "Cross-entropy, or the squared distance to the one-hot target.",
                    "squared",
                )
            },
            "Classification of images.",
        ),
        "binary": Entry(
            "refigure.tasks.binary", {}, "Classification of points into two classes by one logit."
        ),
        "soft_targets": Entry(
            "refigure.tasks.soft_targets",
            {
                "mixup": Key(not_negative(float, 0.8), "Alpha of mixup; 0: none.", 0.2),
                "cutmix": Key(not_negative(float, 1.0), "Alpha of cutmix; 0: none.", 0.0),
                "smoothing": Key(share(0.1), "Smoothing of the labels.", 0.0),
            },
            "Classification of mixed images with soft labels.",
        ),
        "contrastive": Entry(
            "refigure.tasks.contrastive",
            {
                "temperature": Key(
                    positive(float, 0.07),
                    "What the cosine of two views is divided by before the softmax.",
                    0.5,
                )
            },
            "SimCLR's NT-Xent: two views of an image, told apart from all others of a batch.",
        ),
        "variational": Entry(
            "refigure.tasks.variational",
            {
                "objective": Key(
                    _one_of("documents", "characters", "words"),
                    "What is predicted: the class of a document, the next character, or the next "
                    "word.",
                    "characters",
                ),
                "kl": Key(
                    _one_of("authors", "molchanov"),
                    "Formula of the KL divergence: of the authors' code, or of Molchanov et al.",
                    "molchanov",
                ),
                "kl_warmup": Key(
                    Nullable(list),
                    "Epochs without the KL term, and epochs over which it rises to its full "
                    "weight; null: it always has it.",
                    [5, 10],
                    Items(not_negative(float)),
                ),
                "z_sampling": Key(
                    _one_of("object", "batch"),
                    "Whether group variables are drawn for each object or once for a batch.",
                    "batch",
                ),
            },
            "Sparse variational dropout of recurrent networks.",
        ),
    },
    "optimiser": {
        "sphere_sgd": Entry(
            "refigure.training.optimisers.sgd",
            {
                "elr": Key(
                    not_negative(float), "Effective learning rate, which stays fixed.", 1.0e-3
                ),
                "radius": Key(
                    Nullable(positive(float)),
                    "Norm of the scale-invariant weights; null: the norm they start with.",
                    1.0,
                ),
                "fixed": Key(
                    _one_of("total", "filters"),
                    "What norm is held: of all scale-invariant weights, or of each filter.",
                    "filters",
                ),
                "momentum": Key(share(0.0), "Share of the last step that is kept.", 0.9),
            },
            "SGD on the sphere of the scale-invariant weights.",
        ),
        "sgd": Entry(
            "refigure.training.optimisers.sgd",
            {
                "lr": Key(not_negative(float), "Learning rate.", 0.1),
                "wd": Key(not_negative(float, 0.0), "Weight decay, added to the gradient.", 1.0e-4),
                "momentum": Key(share(0.0), "Share of the last step that is kept.", 0.9),
                "norm": Key(
                    Nullable(positive(float)),
                    "Norm to which the scale-invariant weights are rescaled after each step; null: "
                    "they are not.",
                    10.0,
                ),
            },
            "SGD with momentum and weight decay.",
        ),
        "adam": Entry(
            "refigure.training.optimisers.adam",
            {
                "lr": Key(not_negative(float), "Learning rate.", 1.0e-3),
                "wd": Key(not_negative(float, 0.0), "Weight decay.", 0.05),
                "decoupled": Key(
                    False, "Whether weight decay shrinks the weights instead, as in AdamW.", True
                ),
                "decay": Key(
                    _one_of("all", "matrices"),
                    "What decays: all weights, or no biases and scales.",
                    "matrices",
                ),
                "layer_decay": Key(
                    positive(float, 1.0),
                    "Factor of the rate from a layer to the one before it.",
                    0.9,
                ),
                "clip": Key(
                    Nullable(positive(float)), "Largest norm of a gradient; null: any.", 5.0
                ),
                "epsilon_hat": Key(
                    False,
                    "Whether epsilon is added before the bias correction, as in Lasagne and "
                    "TensorFlow.",
                    True,
                ),
            },
            "Adam and AdamW, with betas 0.9 and 0.999.",
        ),
    },
    "schedule": {
        "constant": Entry(
            "refigure.training.schedules.constant", {}, "The learning rate stays as it is."
        ),
        "cosine": Entry(
            "refigure.training.schedules.cosine",
            {
                "by": Key(
                    _one_of("step", "epoch"), "Whether the rate falls by steps or epochs.", "epoch"
                ),
                "warmup": Key(not_negative(int, 0), "Epochs of a linear rise before.", 20),
                "warmup_start": Key(
                    Nullable(not_negative(float)),
                    "Factor of the first epoch of the warm-up; null: 1 / (`warmup` + 1).",
                    0.005,
                ),
                "period": Key(
                    Nullable(positive(int)),
                    "Epochs from the rate to 0; null: what is left of them.",
                    100,
                ),
                "flat": Key(not_negative(int, 0), "Epochs at the full rate before it falls.", 10),
            },
            "A warm-up, the full rate, and half a cosine down to 0.",
        ),
        "linear_tail": Entry(
            "refigure.training.schedules.linear_tail",
            {
                "flat": Key(share(0.5), "Share of the epochs at the full rate.", 0.25),
                "end": Key(share(0.9), "Share of the epochs at which the fall ends.", 1.0),
                "factor": Key(
                    not_negative(float, 0.01), "Factor of the rate from there on.", 0.001
                ),
                "first_epoch": _FIRST_EPOCH,
            },
            "The full rate, a linear fall, and a small rate to the end.",
        ),
        "ramp": Entry(
            "refigure.training.schedules.ramp",
            {
                "flat": Key(share(0.25), "Share of the epochs at the full rate.", 0.5),
                "factor": Key(not_negative(float, 0.1), "Factor of the rate at the end.", 0.01),
                "first_epoch": _FIRST_EPOCH,
            },
            "The full rate, then a linear fall to the end.",
        ),
        "stairs": Entry(
            "refigure.training.schedules.stairs",
            {
                "at": Key(
                    [0.25, 0.5, 0.75],
                    "Shares of the epochs at which the rate falls.",
                    [0.5],
                    Items(share()),
                ),
                "factor": Key(not_negative(float, 0.1), "Factor of the rate at each of them.", 0.2),
                "first_epoch": _FIRST_EPOCH,
                "falls": Key(
                    _one_of("after", "at"),
                    "Whether an epoch that is exactly such a share still has the old rate.",
                    "at",
                ),
            },
            "Steps down at some shares of the epochs.",
        ),
        "exponential": Entry(
            "refigure.training.schedules.exponential",
            {
                "factor": Key(
                    positive(float, 0.9885), "Factor of the rate from an epoch to the next.", 0.95
                )
            },
            "The same factor at every epoch.",
        ),
        "triangles": Entry(
            "refigure.training.schedules.triangles",
            {
                "cycle": Key(positive(int), "Epochs of a triangle.", 4),
                "ratio": Key(not_negative(float), "Factor of the rate at the top.", 0.5),
                "low": Key(not_negative(float, 0.01), "The bottom as a share of the top.", 0.1),
            },
            "Up and down every few epochs, as for fast geometric ensembles.",
        ),
    },
    "augment": {
        "crop_flip": Entry(
            "refigure.data.images.augment",
            {"padding": _PADDING, "flip": Key(True, "Mirror every second image.", False)},
            "A random crop of the padded image, and perhaps a flip.",
        ),
        "randaugment": Entry(
            "refigure.data.images.randaugment",
            {
                "padding": _PADDING,
                "operations": Key(not_negative(int, 2), "Operations on each image.", 1),
                "magnitude": Key(not_negative(int, 14), "Strength of each operation, of 30.", 9),
            },
            "RandAugment, then a random crop and flip.",
        ),
        "resized_crop": Entry(
            "refigure.data.images.resized_crop",
            {"size": _CROP, "resize": _RESIZE},
            "A random crop that is resized, and perhaps a flip; the middle of what is evaluated.",
        ),
        "swin": Entry(
            "refigure.data.images.swin",
            {
                "size": _CROP,
                "resize": _RESIZE,
                "magnitude": Key(not_negative(int, 9), "Strength of RandAugment, of 10.", 5),
                "erase": Key(
                    share(0.25), "Share of the images of which a box is erased by noise.", 0.0
                ),
            },
            "What Swin transformers are fine-tuned with.",
        ),
        "simclr": Entry(
            "refigure.data.images.views",
            {
                "low_area": Key(share(0.08), "Least share of the image that a crop covers.", 0.2),
                "jitter": Key(
                    not_negative(float, 0.8),
                    "Strength of the colour jitter: up to 1 +- this for brightness, contrast and "
                    "saturation, a quarter of it for the hue.",
                    0.5,
                ),
                "jittered": Key(share(0.8), "Share of the images that are jittered.", 1.0),
                "flip": Key(True, "Mirror every second image.", False),
                "grey": Key(share(0.2), "Share of the images that are made grey.", 0.0),
                "blur": Key(
                    [0.1, 2.0],
                    "Least and largest sigma of the blur, pixels.",
                    [0.1, 0.5],
                    Items(not_negative(float)),
                ),
                "clamp": Key(True, "Keep jittered values in [0, 1].", False),
            },
            "SimCLR's views: crop, flip, colour jitter, grey and blur.",
        ),
    },
    "init": {
        "default": Entry("refigure.training.initial", {}, "As the model's own code draws them."),
        "uniform_sphere": Entry(
            "refigure.training.initial",
            {},
            "Scale-invariant weights in a direction uniform on the sphere, of the usual norm.",
        ),
    },
    "start": {
        "initial": Entry(
            "refigure.training.starts.initial", {}, "From an initialisation; it is never written."
        ),
        "weights": Entry(
            "refigure.training.starts.weights",
            {},
            "From the weights and moments of a point, at epoch 0 with a fresh optimiser.",
        ),
        "state": Entry(
            "refigure.training.starts.state",
            {},
            "From a point as if training had never stopped: epochs count on, the optimiser keeps "
            "its state.",
        ),
        "backbone": Entry(
            "refigure.training.starts.backbone",
            {},
            "From all of a point but its last layer, which each run draws anew.",
        ),
    },
    "kept": {
        "history": Entry(
            "refigure.training.kept.history", {}, "What recorders measured; always kept."
        ),
        "points": Entry("refigure.training.kept.points", {}, "The weights at the points."),
        "predictions": Entry(
            "refigure.training.kept.predictions", {}, "Logits on whole sets, in half precision."
        ),
    },
    "record": {
        "train": Entry(
            "refigure.training.recorders.basic",
            {
                "gradient": Key(True, "Also the norm of the mean gradient.", False),
                "squared": Key(
                    False, "Also the root mean square over batches of the effective gradient.", True
                ),
            },
            "Loss and error on the training set.",
            {
                **_always("train_loss", "train_error"),
                "gradient_norm": "gradient",
                "effective_gradient_norm": "gradient",
                "effective_gradient_rms": "squared",
            },
        ),
        "test": Entry(
            "refigure.training.recorders.basic",
            {
                "recomputed": Key(
                    False, "Also the error with batch norm's moments estimated anew.", True
                )
            },
            "Loss and error on the test set.",
            {**_always("test_loss", "test_error"), "test_error_recomputed": "recomputed"},
        ),
        "geometry": Entry(
            "refigure.training.recorders.basic",
            {},
            "Norm of the weights, effective learning rate, and how far they are from the start.",
            _always("weight_norm", "elr", "cosine_to_start", "distance_to_start"),
        ),
        "turn": Entry(
            "refigure.training.recorders.basic",
            {},
            "Cosine between the weights and those at the measure before.",
            _always("cosine_to_previous"),
        ),
        "filters": Entry(
            "refigure.training.recorders.basic",
            {},
            "Norm and effective step of every filter.",
            arrays=("filter_norm", "filter_step"),
        ),
        "step_norms": Entry(
            "refigure.training.recorders.step_norms",
            {},
            "Gradient, norm, effective step and turn of the last step, and of all steps of the "
            "epoch.",
        ),
        "group_norms": Entry(
            "refigure.training.recorders.group_norms",
            {},
            "Norm of the last layer, and of what else is not scale-invariant.",
            _always("head_norm", "free_norm"),
        ),
        "correct": Entry(
            "refigure.training.recorders.correct",
            {
                "objects": Key(not_negative(int, 1024), "Training objects that are followed.", 256),
                "held_out": Key(not_negative(int, 0), "Test objects that are followed.", 256),
                "views": Key(positive(int, 10), "Fixed views of each object.", 1),
                "redrawn": Key(False, "Of pairs, also among other companions, as a check.", True),
            },
            "Which objects are classified correctly, under fixed views of each.",
            arrays=("correct", "correct_second", "correct_held_out", "correct_redrawn"),
        ),
        "counts": Entry(
            "refigure.training.recorders.counts",
            {},
            "Quality of a sparse recurrent network, and how many weights, gates, neurons and words "
            "are left.",
            _always(
                *("val_loss", "test_loss", "metric_val", "metric_test", "kl", "kl_weight"),
                *(name + rule for name in _LEFT for rule in ("", "_strict")),
            ),
        ),
    },
    "recipe": {
        "images": Entry("refigure.data.images.recipes", _IMAGES, "Images with labels."),
        "shuffled_labels": Entry(
            "refigure.data.images.shuffled_labels",
            _IMAGES
            | {"label_seed": Key(not_negative(int, 0), "Seed of the permutation of labels.", 1)},
            "Images whose training labels are permuted once.",
        ),
        "corrupted": Entry(
            "refigure.data.images.corrupted",
            {
                "source": _SOURCE,
                "corruptions": Key(list, "Names of its files.", ["fog", "gaussian_noise"]),
                "severity": Key(Number(int, least=1, most=5), "From 1 to 5.", 3),
                "test": Key(Nullable(positive(int)), "Images of each corruption; null: all.", 1000),
                "mean": _MEAN,
                "std": _STD,
            },
            "Test images that were corrupted already, in NumPy files: CIFAR-10-C, CIFAR-100-C.",
        ),
        "members": Entry(
            "refigure.data.members",
            {"source": _SOURCE},
            "Predictions of your own networks, of which ensembles are made; nothing is trained.",
        ),
        "ticks": Entry(
            "refigure.data.ticks",
            {
                "features": Key(
                    positive(int, 16), "Two-dimensional features, each of which tells the class.", 8
                ),
                "margin": Key(
                    not_negative(float, 0.1),
                    "Distance of the points from a boundary, at least.",
                    0.2,
                ),
                "train": Key(positive(int, 512), "Training points.", 256),
                "test": Key(positive(int, 2000), "Test points.", 500),
                "seed": Key(not_negative(int), "Seed of training and test points.", 1),
                "single": Key(
                    positive(int, 1000),
                    "Points of each set that one feature alone tells apart.",
                    200,
                ),
                "single_seed": Key(not_negative(int, 1), "Seed of those sets.", 2),
            },
            "The synthetic points of where-large-lrs.",
        ),
        "documents": Entry(
            "refigure.data.text.documents",
            {
                "source": _SOURCE,
                "length": Key(
                    positive(int), "Tokens of a document, which is cropped or padded.", 200
                ),
                "words": Key(positive(int, 20000), "Rows of the vocabulary.", 5000),
                "validation": Key(share(), "Share of the training documents for validation.", 0.15),
                "shuffle_seed": Key(not_negative(int, 113), "Seed of the order of documents.", 0),
                "vectors": Key(
                    Nullable(str), "Source of word vectors the embedding starts from.", "glove"
                ),
                "lower": Key(False, "Whether text is lower-cased.", True),
                "held_out": Key(
                    share(0.0),
                    "Share of the documents for test, of a source without a test part.",
                    0.2,
                ),
                "classes": Key(
                    Nullable(list),
                    "Lists of files, the documents of a class each; null: as they are laid out.",
                    [["compound"], ["debugger"]],
                ),
                "chunk": Key(
                    positive(int, 25), "Tokens of a document that is cut from such files.", 50
                ),
                "header": Key(
                    True, "Whether the first line of a CSV file is left out as its header.", False
                ),
            },
            "Labelled documents: reviews, news, topics of a reference text.",
        ),
        "characters": Entry(
            "refigure.data.text.language",
            {
                "source": _SOURCE,
                "length": Key(positive(int, 100), "Characters of a window.", 20),
                "parts": _PARTS,
            },
            "A text as a row of characters.",
        ),
        "words": Entry(
            "refigure.data.text.language",
            {
                "source": _SOURCE,
                "length": Key(positive(int, 35), "Words that are predicted in a step.", 20),
                "streams": Key(
                    positive(int, 32), "Places in the text that are read side by side.", 16
                ),
                "parts": _PARTS,
                "plain": Key(
                    False,
                    "Whether the text is no tokenised corpus: lower-case, split at signs.",
                    True,
                ),
                "words": Key(
                    Nullable(positive(int)),
                    "Rows of the vocabulary; the rest is `<unk>`; null: all.",
                    8000,
                ),
            },
            "A text as a row of words.",
        ),
    },
    "event": {
        "calm_end": Entry(
            "refigure.training.events.calm_end",
            {
                "jump": Key(
                    positive(float, 5.0), "How many times the lowest loss makes a jump.", 3.0
                ),
                "floor": Key(
                    not_negative(float, 0.02), "Loss below which a period has come down.", 0.1
                ),
                "index": Key(positive(int, 1), "Which jump is meant.", 2),
            },
            "The lowest loss before the n-th jump of the training loss.",
        ),
        "jump": Entry(
            "refigure.training.events.jump",
            {
                "jump": Key(
                    positive(float, 5.0), "How many times the lowest loss makes a jump.", 3.0
                ),
                "floor": Key(
                    not_negative(float, 0.02), "Loss below which a period has come down.", 0.1
                ),
                "index": Key(positive(int, 1), "Which jump is meant.", 2),
                "offset": Key(
                    int, "Epochs after the onset of the jump; before it if negative.", -5
                ),
            },
            "Some epochs before or after the onset of the n-th jump of the training loss.",
        ),
    },
}


def entry(kind: str, name: Any, where: str) -> Entry:
    """The catalogue's entry of that kind and name.

    Raises:
        UserError: there is none; the nearest name is suggested.
    """
    known = CATALOGUE[kind]
    if name not in known:
        raise UserError(f"{where}: unknown {kind} '{name}'{suggest(name, known)}")
    return known[name]


def settings(kind: str, written: Any, where: str) -> dict[str, Any]:
    """`{name: ..., key: ...}` with every key of that entry, defaults filled in and types checked.

    Raises:
        UserError: an unknown name or key, a missing key, a value of another type.
    """
    if isinstance(written, str):
        written = {"name": written}
    written = dict(typed(written, dict, where))
    if "name" not in written:
        raise UserError(f"{where}: key 'name' is missing{suggest('', CATALOGUE[kind])}")
    name = written.pop("name")
    keys = entry(kind, name, where).keys
    for key in written:
        if key not in keys:
            raise UserError(f"{where}: {kind} '{name}' has no key '{key}'{suggest(key, keys)}")
    return {"name": name} | {
        key: CATALOGUE[kind][name].value(key, written.get(key, MISSING), f"{where}.{key}")
        for key in keys
    }


def value_of(shape: Any, written: Any, where: str) -> Any:
    """The value of one key, checked against its shape."""
    if written is MISSING:
        value = default_of(shape)
        if value is MISSING:
            raise UserError(f"{where} is missing")
        return value
    if isinstance(shape, OneOf):
        return one_of(shape, written, where)
    if isinstance(shape, Nullable):
        return None if written is None else typed(written, shape.kind, where)
    return typed(written, shape if isinstance(shape, (type, Number)) else type(shape), where)


def _check_nested(name: str, written: Any, where: str) -> None:
    """Refuse what one of `NESTED` may not hold; what is left out stays so, for identities."""
    keys = Keys(written, where)
    keys.refuse_others(NESTED[name])
    for key, one in NESTED[name].items():
        one.take(keys, key)


def check_column(name: str, recorders: Iterable[Mapping[str, Any]], where: str, whose: str) -> None:
    """Refuse a column that none of some recorders measures.

    Args:
        recorders: `{name, keys...}` with all keys.
        whose: what they are of.

    Raises:
        UserError: it suggests the nearest column, or what to add under `record`.
    """
    known = {
        column: (recorder, key)
        for recorder, one in CATALOGUE["record"].items()
        for column, key in one.columns.items()
    }
    for one in recorders:
        columns = CATALOGUE["record"][one["name"]].columns
        if name in columns and (not columns[name] or one[columns[name]]):
            return
    if name not in known:
        raise UserError(f"{where}: unknown column '{name}'{suggest(name, known)}")
    recorder, key = known[name]
    wanted = f"`{recorder}` with `{key}`" if key else f"`{recorder}`"
    raise UserError(f"{where}: no recorder of {whose} measures '{name}'; add {wanted} to `record`")


def check_array(name: str, recorders: Iterable[str], where: str, whose: str) -> None:
    """Refuse an array that none of some recorders gives, however their keys are set: a table may
    be of runs some of which lack it.

    Raises:
        UserError: it suggests the nearest array, or what to add under `record`.
    """
    known = {
        array: recorder for recorder, one in CATALOGUE["record"].items() for array in one.arrays
    }
    if name not in known:
        raise UserError(f"{where}: unknown array '{name}'{suggest(name, known)}")
    if known[name] not in recorders:
        raise UserError(
            f"{where}: no recorder of {whose} measures '{name}'; add `{known[name]}` to `record`"
        )


def absent(modules: Iterable[str]) -> list[str]:
    """Of modules that entries name, those whose code is not written yet."""
    entries = {entry.module: entry for kind in CATALOGUE.values() for entry in kind.values()}
    return sorted(module for module in set(modules) if not entries[module].there())


def import_entry(kind: str, name: str) -> ModuleType:
    """The module of an entry: imported by name, and so fingerprinted by name."""
    return import_module(CATALOGUE[kind][name].module)
