"""Images whose training labels are permuted once, the same for all networks that train on them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from refigure.data.images import recipes
from refigure.data.images.images import load as load
from refigure.data.images.images import save as save
from refigure.data.images.recipes import Prepared
from refigure.data.images.recipes import read as read
from refigure.data.sources import Raw


def prepare(raw: Raw, recipe: Mapping[str, Any]) -> Prepared:
    """The data set of a recipe of images, then with its training labels in another order.

    The labels are permuted and not redrawn, so the classes stay as large as they are. Test labels
    stay true: a probe of what was learned needs them.

    Args:
        raw: left as it is.
        recipe: as of `recipes.prepare`, and `label_seed`, of `random.Random`.

    Raises:
        UserError: the recipe is wrong in itself, or asks for what the source does not have.

    Source: contrastive-memorization, section 3; the authors permute the test labels too.
    """
    recipe = dict(recipe)
    seed = recipe.pop("label_seed", 0)
    prepared = recipes.prepare(raw, recipe)
    labels = prepared.train_labels.tolist()
    random.Random(seed).shuffle(labels)
    return replace(
        prepared,
        train_labels=np.array(labels, np.int64),
        train_corrupted=np.ones(len(labels), dtype=bool),
    )
