"""Labelled data, made ready for a network: numbered classes, a part held out for the test, columns that vary."""

from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.typing import ArrayLike

from ..errors import ProblemError, shown
from ..inputs import constant_columns, listed
from ..settings import numbers
from ._structure import carrying_rows
from ._verdict import FEW_ROWS

LEAST = 5
"""The fewest samples of a class."""

MOST = 64
"""The most classes: beyond, labels that are numbers are no classes."""


class Labelled(NamedTuple):
    """Labelled data in two parts: what SGD and all statistics see, and what the test error is measured on."""

    train: Float[ndarray, "row N"]
    train_class: Int[ndarray, "row"]
    test: Float[ndarray, "test N"]
    test_class: Int[ndarray, "test"]
    classes: list[str]
    """What the numbers of the classes stand for."""
    notes: list[str]
    """What was done to the data or is unusual about them, a sentence each."""


def prepare(
    samples: Any,
    labels: Any,
    *,
    test: float = 0.2,
    preprocess: Literal["standardize", "centre", "none"] = "standardize",
    drop_constant: bool | None = None,
    seed: int = 0,
) -> Labelled:
    """Split labelled data at random, in the same proportions of each class, and prepare the columns by training rows.

    Parameters
    ----------
    samples
        Shape (count, N), a table of pandas, or images with more axes.
    labels
        One for each sample, numbers or texts, or the heading of their column in a table.
    test
        Part of the samples that is held out.
    preprocess
        ``"standardize"`` subtracts the mean and divides by the deviation, column by column; ``"centre"`` only
        subtracts.
    drop_constant
        Leave out columns that are constant or nearly so, where fewer than ten rows make up the variance. By default
        this is done for images: more than two axes, or whole numbers from 0 to 255 in at least 16 columns.
    seed
        Seed of the split.

    Raises
    ------
    ProblemError
        If labels do not fit the samples, are missing, are no classes, or classes are too small; or samples are not
        finite numbers.
    """
    try:
        from sklearn.model_selection import train_test_split
    except ImportError:
        raise ProblemError("labels: need scikit-learn. Run pip install 'sgdlimit[data]'.") from None
    if isinstance(labels, str):
        if labels not in getattr(samples, "columns", ()):
            raise ProblemError(f"labels: must be the heading of a column (got {shown(labels)}). Give the labels.")
        samples, labels = samples.drop(columns=labels), samples[labels]
    headings = np.array(list(getattr(samples, "columns", ())))
    images = np.ndim(samples) > 2
    X = numbers("samples", np.reshape(samples, (len(samples), -1)) if images else samples, ("count", "columns"))
    classes, number = _classes(labels, len(X))
    if not 0 < test < 1 or min(test, 1 - test) * len(X) < len(classes):
        raise ProblemError(f"test: must leave each class a sample on both sides (got {test}). Try 0.2.")
    notes = []
    rows = train_test_split(np.arange(len(X)), test_size=test, stratify=number, random_state=seed)
    train, tested = (X[part] for part in rows)
    seen = {row.tobytes() for row in train}
    repeated = sum(row.tobytes() in seen for row in tested)
    if repeated:
        notes.append(f"{repeated} of {len(tested)} test samples are also in the training part: their error is too low.")
    pixels = X.shape[1] >= 16 and X.min() >= 0 and X.max() <= 255 and not (X % 1).any()
    drop = bool(images or pixels) if drop_constant is None else drop_constant
    mean, deviation = train.mean(0), train.std(0)
    few = carrying_rows(train - mean) < FEW_ROWS  # false also where a column is constant
    constant = deviation <= 1e-12 * abs(train).max(0)
    names = headings if len(headings) == X.shape[1] else np.arange(X.shape[1]) + 1
    if few.any() and not drop:
        notes.append(f"Nearly constant columns: {listed(names[few])}. Try drop_constant=True (--drop-constant).")
    dropped = constant_columns("samples", constant | (few & drop), names, drop=drop)
    if len(dropped):
        notes.append(f"{len(dropped)} of {len(names)} columns are (nearly) constant and left out.")
    kept = np.setdiff1d(np.arange(len(names)), dropped)
    location = 0 if preprocess == "none" else mean[kept]
    scale = deviation[kept] if preprocess == "standardize" else 1
    train, tested = ((part[:, kept] - location) / scale for part in (train, tested))
    order = np.lexsort(train[:MOST].round(6)[::-1])  # by content, so that the order of columns changes nothing
    return Labelled(train[:, order], number[rows[0]], tested[:, order], number[rows[1]], classes, notes)


def _classes(labels: ArrayLike, count: int) -> tuple[list[str], Int[ndarray, "count"]]:
    """The names of the classes, and the number of each sample's class; texts that are numbers count as these."""
    values = pd.Series(np.asarray(labels).ravel())
    if len(values) != count:
        raise ProblemError(
            f"labels: must be one for each of {count} samples (got {len(values)}). If these are output times, write "
            "times=..."
        )
    if values.isna().any():
        raise ProblemError(f"labels: must not be missing (got {values.isna().sum()} of {count}). Leave those out.")
    parsed: Any = pd.to_numeric(values, errors="coerce")
    numeric = bool(parsed.notna().all())
    names, number = np.unique(parsed if numeric else values.astype(str), return_inverse=True)
    if len(names) < 2:
        raise ProblemError(f"labels: must be of at least two classes (got {shown(values[0])} alone). Give others too.")
    if numeric and (len(names) > MOST or (len(names) > 10 and (names % 1).any())):
        raise ProblemError(
            f"labels: must be classes (got {len(names)} different numbers, a regression). Join them into classes, "
            "such as above and below the median."
        )
    sizes = np.bincount(number)
    if sizes.min() < LEAST or len(names) > MOST:
        raise ProblemError(
            f"labels: must be at most {MOST} classes of at least {LEAST} samples (got {len(names)}, of which "
            f"{shown(names.tolist()[sizes.argmin()])} has {sizes.min()}). Join classes, or leave out small ones."
        )
    return [f"{name:g}" if numeric else name for name in names.tolist()], number
