"""From raw images to the arrays a run trains on: which images, which pixels, which labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from refigure.data import sources
from refigure.data.images.images import load as load
from refigure.data.images.images import save as save
from refigure.data.sources import Raw
from refigure.errors import UserError
from refigure.graph.catalogue import settings
from refigure.graph.reading import Keys, suggest

NO_NOISE = {"sd": 0.0, "seed": 0}
NO_LABEL_NOISE = {"share": 0.0, "seed": 0}
BLOCK = 1000
"""Images whose moments are summed at once: keeps CIFAR's float64 copies below 25 MB."""


@dataclass(frozen=True)
class Corruption:
    """What shifts the domain of test images.

    Args:
        name: "noise" or "blur".
        strength: of noise its standard deviation, in units of a standardised pixel; of blur the
            standard deviation of its Gaussian, in pixels.
        seed: of the noise, drawn once.
    """

    name: str
    strength: float
    seed: int

    @classmethod
    def read(cls, written: Mapping[str, Any], where: str) -> Corruption:
        """A corruption from its keys.

        Raises:
            UserError: an unknown key or name, or a strength that is not positive.
        """
        keys = Keys(written, where)
        found = cls(keys.take("name", str), keys.take("strength", float), keys.take("seed", int, 0))
        keys.done()
        if found.name not in ("noise", "blur"):
            raise UserError(f"{where}.name: unknown value '{found.name}'; known: blur, noise")
        if found.strength <= 0 or found.seed < 0:
            raise UserError(f"{where}: strength must be positive and seed at least 0, got {found}")
        return found

    def of(self, images: np.ndarray) -> np.ndarray:
        """The images corrupted: (images, channels, size, size), float32; reflected at the borders
        where they are blurred."""
        if self.name == "noise":
            draws = np.random.RandomState(self.seed).standard_normal(images.shape)
            return images + (self.strength * draws).astype(np.float32)
        from scipy.ndimage import gaussian_filter

        return gaussian_filter(images, self.strength, axes=(2, 3), mode="mirror")


@dataclass(frozen=True)
class Recipe:
    """What is done to the images of a source, in the order of the arguments.

    Args:
        source: its name; here for messages only.
        order_seed: of `RandomState(order_seed).permutation`, the one order in which training
            images, and test images, are stored. Class-sorted data break metrics that use a
            batch's own statistics. None stores them in the order of the source's files.
        classes: the classes kept, which are numbered anew in this order: names, numbers, or
            ranges such as "0-79"; None keeps all.
        skip: training images passed over, the first in that order, before any are kept: what one
            recipe takes with `train: 900` another leaves with `skip: 900`.
        train: training images kept, the next in that order; None keeps all (of a source without a
            test part: all but the `test` ones).
        test: test images kept, the first in that order; of a source without a test part, the ones
            after the training images. None keeps all there are.
        per_class: keep the first `train` / classes training images of each class.
        validation: that many of the training images kept, the last, are the test images instead.
        stratified: None, or the random state with which scikit-learn's `train_test_split` chooses
            the validation images instead: as many of each class as its share, from the images
            kept in the order of the source's files.
        pool: height and width after average-pooling, pixels.
        standardise: "published": by `mean` and `std`; "channel": each channel by its mean and
            standard deviation over the training images kept; "global": by one mean and one
            standard deviation of all images kept.
        mean: of each channel, for pixels in [0, 1]; used by "published" only.
        std: as `mean`.
        noise_sd: standard deviation of Gaussian noise added to each standardised pixel of the
            training and test images, drawn once.
        noise_seed: of that noise.
        label_share: chance of a training label to be redrawn uniformly from all classes; it stays
            right with a chance of 1 / classes.
        label_seed: of the redrawing.
        corruption: None, or what is done to the standardised test images alone, the test set of a
            shifted domain: `{name: noise, strength, seed}` adds Gaussian noise of that standard
            deviation, `{name: blur, strength}` blurs with a Gaussian of that many pixels.
        bytes: images stay whole numbers from 0 to 255 on the device too, and are standardised a
            batch at a time: a quarter of the memory.

    Source of order and label noise: Kodryan et al. 2022, arXiv:2209.03695, the authors' code
    (`label_seed` 228 there); the permutation is ours.
    """

    source: str
    order_seed: int | None
    classes: list[str | int] | None
    skip: int
    train: int | None
    test: int | None
    per_class: bool
    validation: int
    stratified: int | None
    pool: int | None
    standardise: str
    mean: list[float]
    std: list[float]
    noise_sd: float
    noise_seed: int
    label_share: float
    label_seed: int
    corruption: Corruption | None
    bytes: bool

    @classmethod
    def read(cls, written: Mapping[str, Any], where: str) -> Recipe:
        """A recipe from its keys in the catalogue; `noise` is `{sd, seed}`, `label_noise`
        `{share, seed}`.

        Raises:
            UserError: an unknown key, or a value that cannot be; `where` begins the message.
        """
        keys = settings("recipe", {"name": "images"} | dict(written), where)
        keys.pop("name")
        noise = Keys(keys.pop("noise") or NO_NOISE, f"{where}.noise")
        label_noise = Keys(keys.pop("label_noise") or NO_LABEL_NOISE, f"{where}.label_noise")
        corruption = keys.pop("corruption")
        recipe = cls(
            **keys,
            corruption=corruption and Corruption.read(corruption, f"{where}.corruption"),
            noise_sd=noise.take("sd", float),
            noise_seed=noise.take("seed", int),
            label_share=label_noise.take("share", float),
            label_seed=label_noise.take("seed", int),
        )
        noise.done()
        label_noise.done()
        recipe._check(where)
        return recipe

    def _check(self, where: str) -> None:
        smallest = {
            "order_seed": (self.order_seed, 0),
            "skip": (self.skip, 0),
            "stratified": (self.stratified, 0),
            "train": (self.train, 1),
            "test": (self.test, 0),
            "validation": (self.validation, 0),
            "pool": (self.pool, 1),
            "noise.sd": (self.noise_sd, 0),
            "noise.seed": (self.noise_seed, 0),
            "label_noise.seed": (self.label_seed, 0),
        }
        for key, (value, least) in smallest.items():
            if value is not None and value < least:
                raise UserError(f"{where}.{key} must be at least {least}, got {value}")
        if self.stratified is not None and not self.validation:
            raise UserError(f"{where}.stratified chooses validation images: validation is 0")
        if self.classes is not None and not self.classes:
            raise UserError(f"{where}.classes is an empty list")
        if not 0 <= self.label_share <= 1:
            raise UserError(f"{where}.label_noise.share must be in [0, 1], got {self.label_share}")
        for value in (*self.mean, *self.std):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise UserError(f"{where}: mean and std are lists of numbers, got {value!r}")
        if any(value <= 0 for value in self.std):
            raise UserError(f"{where}.std must be positive, got {self.std}")


@dataclass(frozen=True)
class Prepared:
    """The arrays of one data set.

    Args:
        train_images: (images, channels, size, size); uint8 in 0..255, to be divided by 255 and
            standardised by `mean` and `std` when loaded, or float32 and standardised already.
        train_labels: (images,), int64.
        test_images: as `train_images`.
        test_labels: (images,), int64.
        mean: (channels,), float32, subtracted from pixels in [0, 1].
        std: (channels,), float32, by which they are divided then.
        train_corrupted: (images,), bool: the label was redrawn (and may be right by chance).
        classes: names.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    train_corrupted: np.ndarray
    classes: list[str]


def read(given: Mapping[str, Mapping[str, Any]], cache: Path) -> Raw:
    """The images of the recipe's source; see `sources.read`."""
    return sources.read(given["source"], cache)


def prepare(raw: Raw, recipe: Mapping[str, Any]) -> Prepared:
    """The data set that a recipe makes of raw images; the same at every call.

    Args:
        raw: left as it is.
        recipe: the keys of `Recipe`, with `noise: {sd, seed}` and `label_noise: {share, seed}`;
            all but `source` may be absent, defaults are the catalogue's.

    Raises:
        UserError: the recipe is wrong in itself, or asks for what the source does not have.
    """
    where = f"recipe of '{recipe.get('source')}'"
    recipe = Recipe.read(recipe, where)
    if recipe.classes is not None:
        raw = of_classes(raw, recipe.classes, where)
    train, train_labels, test, test_labels = _chosen(raw, recipe, where)
    if recipe.pool is not None or recipe.noise_sd > 0 or recipe.corruption:
        train, test = _unit_range(train), _unit_range(test)
    if recipe.pool is not None:
        train, test = (_pooled(images, recipe.pool, where) for images in (train, test))
    mean, std = _moments(train, test, recipe, where)
    if train.dtype != np.uint8:
        train, test = (
            (images - mean[:, None, None]) / std[:, None, None] for images in (train, test)
        )
    if recipe.bytes and train.dtype != np.uint8:
        raise UserError(
            f"{where}.bytes: the pixels are no whole numbers from 0 to 255: neither images of more"
            " than 8 bits nor pool, noise or corruption go with it"
        )
    if recipe.noise_sd > 0:
        generator = np.random.RandomState(recipe.noise_seed)
        train, test = (
            images + (recipe.noise_sd * generator.standard_normal(images.shape)).astype(np.float32)
            for images in (train, test)
        )
    if recipe.corruption:
        test = recipe.corruption.of(test)
    train_labels, corrupted = redrawn(
        train_labels, len(raw.classes), recipe.label_share, recipe.label_seed
    )
    return Prepared(train, train_labels, test, test_labels, mean, std, corrupted, list(raw.classes))


def redrawn(
    labels: np.ndarray, classes: int, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which a share is drawn anew, and which ones were: (images,) int64, (images,) bool.

    A label drawn anew may be the right one: `share` * (1 - 1 / classes) are wrong on average.

    Args:
        labels: (images,), int64; left as they are.
        classes: number of classes, all equally likely.
        share: chance of each label to be drawn anew; 0 draws none.
        seed: of a `RandomState`.

    Source: Kodryan et al. 2022, arXiv:2209.03695, the authors' code, where the seed is 228.
    """
    if share == 0:
        return labels, np.zeros(len(labels), dtype=bool)
    generator = np.random.RandomState(seed)
    mask = generator.rand(len(labels)) <= share
    labels = labels.copy()
    labels[mask] = generator.choice(classes, mask.sum())
    return labels, mask


def of_classes(raw: Raw, chosen: Sequence[str | int], where: str) -> Raw:
    """The images of some classes, numbered anew in the order in which the classes are written.

    Args:
        chosen: names of classes, their numbers, or ranges of numbers such as "0-79".

    Raises:
        UserError: there is no such class, or one is written twice.
    """
    numbers: list[int] = []
    for one in chosen:
        name = str(one)
        first, dash, last = name.partition("-")
        if name in raw.classes:
            numbers.append(raw.classes.index(name))
        elif dash and first.isdecimal() and last.isdecimal():
            numbers += range(int(first), int(last) + 1)
        elif name.isdecimal():
            numbers.append(int(name))
        else:
            raise UserError(f"{where}.classes: unknown class '{one}'{suggest(name, raw.classes)}")
    if max(numbers, default=-1) >= len(raw.classes):
        raise UserError(
            f"{where}.classes: no class {max(numbers)}, there are {len(raw.classes)}, from 0"
        )
    if not numbers or len(set(numbers)) < len(numbers):
        raise UserError(f"{where}.classes: a class is written twice, or none is: {list(chosen)}")
    place = np.full(len(raw.classes), -1)
    place[numbers] = range(len(numbers))
    train, test = (np.flatnonzero(place[one] >= 0) for one in (raw.train_labels, raw.test_labels))
    return Raw(
        raw.train_images[train],
        place[raw.train_labels[train]],
        raw.test_images[test],
        place[raw.test_labels[test]],
        [raw.classes[number] for number in numbers],
    )


def _order(recipe: Recipe, count: int) -> np.ndarray:
    if recipe.order_seed is None:
        return np.arange(count)
    return np.random.RandomState(recipe.order_seed).permutation(count)


def _chosen(
    raw: Raw, recipe: Recipe, where: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images and labels, test images and labels that are kept."""
    order = _order(recipe, len(raw.train_labels))[recipe.skip :]
    split = len(raw.test_labels) > 0
    taken_for_test = 0 if split or recipe.validation else recipe.test or 0
    count = len(order) - taken_for_test if recipe.train is None else recipe.train
    if count + taken_for_test > len(order) or count < 1:
        skipped = f" beyond the {recipe.skip} skipped" if recipe.skip else ""
        raise UserError(
            f"{where}: asks for {count + taken_for_test} images (train {count}, test "
            f"{taken_for_test}), the source has {len(order)}{skipped}"
        )
    train = order[:count]
    if recipe.per_class:
        train = _first_of_each_class(order, raw, count, where)
    if recipe.validation:
        if recipe.validation >= len(train):
            raise UserError(
                f"{where}: validation {recipe.validation} leaves none of {len(train)} "
                "training images"
            )
        held_out = np.arange(len(train)) >= len(train) - recipe.validation
        if recipe.stratified is not None:
            held_out = np.isin(train, _stratified(np.sort(train), raw, recipe, where))
        train, test = train[~held_out], train[held_out]
        test_images, test_labels = raw.train_images, raw.train_labels
    elif split:
        test = _order(recipe, len(raw.test_labels))
        test_images, test_labels = raw.test_images, raw.test_labels
    else:
        test = order[~np.isin(order, train)]
        test_images, test_labels = raw.train_images, raw.train_labels
    if recipe.test is not None:
        if recipe.test > len(test):
            raise UserError(f"{where}: asks for {recipe.test} test images, there are {len(test)}")
        test = test[: recipe.test]
    height, width = raw.train_images.shape[2:]
    if height != width:
        raise UserError(f"{where}: images must be square, got {height}x{width} pixels")
    return raw.train_images[train], raw.train_labels[train], test_images[test], test_labels[test]


def _stratified(places: np.ndarray, raw: Raw, recipe: Recipe, where: str) -> np.ndarray:
    """The validation images among the places, as scikit-learn chooses them."""
    from sklearn.model_selection import train_test_split

    try:
        return train_test_split(
            places,
            test_size=recipe.validation,
            stratify=raw.train_labels[places],
            random_state=recipe.stratified,
        )[1]
    except ValueError as error:
        raise UserError(f"{where}.stratified: {' '.join(str(error).split())}") from None


def _first_of_each_class(order: np.ndarray, raw: Raw, count: int, where: str) -> np.ndarray:
    each, left = divmod(count, len(raw.classes))
    if left:
        raise UserError(
            f"{where}: train {count} is not a multiple of {len(raw.classes)} classes, "
            "as per_class needs"
        )
    kept = np.zeros(len(order), dtype=bool)
    for number, name in enumerate(raw.classes):
        places = np.flatnonzero(raw.train_labels[order] == number)
        if len(places) < each:
            raise UserError(
                f"{where}: class '{name}' has {len(places)} of the {each} images asked for"
            )
        kept[places[:each]] = True
    return order[kept]


def _unit_range(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images


def _pooled(images: np.ndarray, size: int, where: str) -> np.ndarray:
    """Averages of square blocks: (images, channels, size, size), float32."""
    count, channels, height, _ = images.shape
    if height % size:
        raise UserError(f"{where}: images of {height}x{height} pixels do not pool to {size}x{size}")
    block = height // size
    return images.reshape(count, channels, size, block, size, block).mean((3, 5), dtype=np.float32)


def _moments(
    train: np.ndarray, test: np.ndarray, recipe: Recipe, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, (channels,) float32, for pixels in [0, 1]."""
    channels = train.shape[1]
    if recipe.standardise == "published":
        for key, values in (("mean", recipe.mean), ("std", recipe.std)):
            if len(values) != channels:
                raise UserError(f"{where}.{key} has {len(values)} values for {channels} channels")
        return np.array(recipe.mean, np.float32), np.array(recipe.std, np.float32)
    total, squares, pixels = np.zeros(channels), np.zeros(channels), 0
    for images in (train,) if recipe.standardise == "channel" else (train, test):
        for start in range(0, len(images), BLOCK):
            block = images[start : start + BLOCK].astype(np.float64)
            total += block.sum((0, 2, 3))
            squares += (block**2).sum((0, 2, 3))
            pixels += block[:, 0].size
    if recipe.standardise == "global":
        total, squares = (np.full(channels, sums.mean()) for sums in (total, squares))
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    if not std.all():
        raise UserError(f"{where}: a channel is the same in all images, nothing to standardise by")
    scale = 255 if train.dtype == np.uint8 else 1
    return (mean / scale).astype(np.float32), (std / scale).astype(np.float32)
