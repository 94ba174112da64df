"""Splits of signals, and what their bands are compared with."""

from fractions import Fraction

import numpy as np
from oracles import HALF

# Rounding of a float32 transform of a few hundred numbers near 1.
ATOL = 5e-6


CUTOFFS = [Fraction(1, 4), Fraction(1, 3), HALF, Fraction(29, 100)]


def assert_bands_are(actual, expected, atol=ATOL):
    for name, one, other in zip(("low", "high"), actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=atol, err_msg=name)
