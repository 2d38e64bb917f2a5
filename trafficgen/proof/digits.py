"""Columns of decimal digits: integers to fixed-width text and back, millions at a time.

Takes     arrays of integers from 0 up, or a matrix of ASCII digits, a row a number
Gives     the other one
Fails     never; what is no digit gives a number that means nothing, so ask `all_digits` first
"""

import numpy as np
from numpy.typing import NDArray

Text = NDArray[np.uint8]
"""ASCII, a row a line."""


def to_text(values: NDArray[np.int64], width: int) -> Text:
    """`width` digits for each value, leading zeros included; higher digits are cut off."""
    rest = values.astype(np.int64)
    text = np.empty((rest.size, width), np.uint8)
    for column in range(width - 1, -1, -1):
        rest, text[:, column] = np.divmod(rest, 10)
    text += 48
    return text


def from_text(text: Text) -> NDArray[np.int64]:
    """The number in each row; at most 18 digits are exact, a 19th may be as long as the number stays below 2^63."""
    powers = 10 ** np.arange(text.shape[1] - 1, -1, -1, dtype=np.int64)
    numbers: NDArray[np.int64] = (text.astype(np.int64) - 48) @ powers
    return numbers


def to_hexadecimal(values: NDArray[np.int64], width: int) -> Text:
    """`width` lower-case hexadecimal digits for each value, leading zeros included; higher digits are cut off."""
    shifts = np.arange(4 * (width - 1), -1, -4, dtype=np.int64)
    text: Text = np.frombuffer(b"0123456789abcdef", np.uint8)[(values[:, None] >> shifts) & 15]
    return text


def all_digits(text: Text) -> NDArray[np.bool_]:
    """Which rows are digits and nothing else."""
    return np.asarray(((text >= 48) & (text <= 57)).all(axis=1))


def from_hexadecimal(text: Text) -> NDArray[np.int64]:
    """The number in each row of lower-case hexadecimal digits."""
    digits = text.astype(np.int64)
    digits -= np.where(digits >= 97, 87, 48)
    numbers: NDArray[np.int64] = digits @ (16 ** np.arange(text.shape[1] - 1, -1, -1, dtype=np.int64))
    return numbers


def all_hexadecimal(text: Text) -> NDArray[np.bool_]:
    """Which rows are lower-case hexadecimal digits and nothing else."""
    return np.asarray((((text >= 48) & (text <= 57)) | ((text >= 97) & (text <= 102))).all(axis=1))
