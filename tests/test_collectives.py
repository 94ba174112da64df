"""Sums over the devices of a mapped axis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdcmkd_jax.collectives import pmean, psum
from fdcmkd_jax.training.devices import AXIS, Devices

TREE = {"a": jnp.arange(8.0), "b": jnp.ones((8, 2))}


def mapped(function, parallel, count):
    """A function of a tree whose rows are split over some devices."""
    devices = Devices(parallel, jax.devices()[:count])
    program = devices.map(lambda tree: function(tree, AXIS), split_arguments=(True,))
    return program, devices.split(TREE)


@pytest.mark.parametrize("parallel", ["pmap", "shard_map"])
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize(("function", "reduce"), [(psum, np.sum), (pmean, np.mean)])
def test_rows_of_all_devices_are_reduced(function, reduce, parallel, count):
    program, tree = mapped(function, parallel, count)
    expected = jax.tree.map(lambda x: reduce(x.reshape(count, -1, *x.shape[1:]), axis=0), TREE)
    jax.tree.map(np.testing.assert_array_equal, program(tree), expected)


@pytest.mark.parametrize("parallel", ["pmap", "shard_map"])
@pytest.mark.parametrize(("count", "expected"), [(1, False), (4, True)])
def test_one_device_needs_no_collective(parallel, count, expected):
    program, tree = mapped(psum, parallel, count)
    assert ("all-reduce" in program.lower(tree).compile().as_text()) is expected


def test_without_an_axis_nothing_is_summed():
    assert psum(TREE, None) is TREE
    assert pmean(TREE, None) is TREE
