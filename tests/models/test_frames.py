"""Several frames an example in a network of pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdcmkd_jax.models.layers import join_frames, stack_frames
from fdcmkd_jax.models.resnet import ResNet

F, N = 3, 4
NET = ResNet(num_classes=5, widths=(4,), strides=(2,), depths=(1,), stem_width=4)


@pytest.fixture(scope="module")
def clips():
    return jax.random.normal(jax.random.key(0), (N, F, 9, 8, 3))


@pytest.fixture(scope="module")
def variables(clips):
    """Weights with statistics that are not the first ones."""
    weights = jax.jit(NET.init, static_argnames="train")(
        jax.random.key(1), clips[:, 0], train=False
    )
    weights.pop("perturbations", None)
    moved = jax.tree.map(lambda x: x + 0.1 + jnp.arange(x.size) / 50, weights["batch_stats"])
    return {**weights, "batch_stats": moved}


run = jax.jit(NET.apply, static_argnames=("train", "mutable"))


def test_frames_are_joined_in_order_with_the_mask_of_their_example(clips):
    mask = jnp.array([True, False, True, True])
    pictures, repeated, count = join_frames(clips, mask)
    assert count == F
    for example in range(N):
        for frame in range(F):
            place = example * F + frame
            np.testing.assert_array_equal(pictures[place], clips[example, frame])
            assert repeated[place] == mask[example]
    assert join_frames(clips, None)[1] is None


def test_single_pictures_are_left_as_they_are(clips):
    mask = jnp.ones(N, bool)
    pictures, same, count = join_frames(clips[:, 0], mask)
    np.testing.assert_array_equal(pictures, clips[:, 0])
    assert same is mask
    assert count == 1
    np.testing.assert_array_equal(stack_frames(pictures, 1), pictures)


def test_stacked_frames_lie_one_below_the_other(clips):
    stacked = stack_frames(join_frames(clips, None)[0], F)
    assert stacked.shape == (N, F * 9, 8, 3)
    for frame in range(F):
        np.testing.assert_array_equal(stacked[:, 9 * frame : 9 * (frame + 1)], clips[:, frame])


def test_the_result_of_a_clip_is_the_mean_over_its_frames(clips, variables):
    together = run(variables, clips, train=False)
    singles = [run(variables, clips[:, frame], train=False) for frame in range(F)]
    for name in ("logits", "features"):
        mean = np.mean([getattr(single, name) for single in singles], axis=0)
        np.testing.assert_allclose(getattr(together, name), mean, rtol=1e-5, atol=1e-5)
    for stage, joined in together.maps.items():
        expected = np.concatenate([single.maps[stage] for single in singles], axis=1)
        np.testing.assert_allclose(joined, expected, rtol=1e-5, atol=1e-5)


def test_one_frame_along_the_axis_gives_what_a_picture_gives(clips, variables):
    one = run(variables, clips[:, :1], train=False)
    other = run(variables, clips[:, 0], train=False)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-6), one, other)


@pytest.mark.parametrize("mask", [None, [True, True, False, True]], ids=["all", "masked"])
def test_training_counts_every_frame_in_the_statistics(clips, variables, mask):
    masks = (None, None)
    if mask is not None:
        masks = (jnp.array(mask), jnp.repeat(jnp.array(mask), F))
    pictures = clips.reshape(N * F, *clips.shape[2:])
    (together, changed), (single, expected) = (
        run(variables, x, train=True, mask=rows, mutable="batch_stats")
        for x, rows in zip((clips, pictures), masks, strict=True)
    )
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), changed, expected
    )
    mean = np.mean(single.logits.reshape(N, F, -1), axis=1)
    np.testing.assert_allclose(together.logits, mean, rtol=1e-4, atol=1e-5)


def test_a_masked_clip_changes_nothing_but_its_own_result(clips, variables):
    mask = jnp.array([True, True, False, True])
    results = [
        run(variables, x, train=True, mask=mask, mutable="batch_stats")
        for x in (clips, clips.at[2].set(100.0))
    ]
    (one, changed), (other, same) = results
    jax.tree.map(np.testing.assert_array_equal, changed, same)
    rows = np.flatnonzero(mask)
    np.testing.assert_allclose(one.logits[rows], other.logits[rows], rtol=1e-5, atol=1e-6)
