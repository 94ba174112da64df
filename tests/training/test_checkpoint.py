"""States that are held in memory until the next save."""

import numpy as np
import pytest

from fdcmkd_jax.training.checkpoint import Checkpoints
from fdcmkd_jax.training.state import TrainState


def state(step):
    weight = np.full(2, step, np.float32)
    return TrainState(
        step=np.int32(step),
        apply_fn=None,
        params={"model": {"weight": weight}, "method": {}},
        tx=None,
        opt_state={"momentum": -weight},
        batch_stats={"mean": weight},
        rng=np.zeros(2, np.uint32),
    )


@pytest.fixture
def checkpoints(tmp_path):
    with Checkpoints(tmp_path / "checkpoints", keep_latest=1) as opened:
        yield opened


def hold(checkpoints, step, score):
    checkpoints.hold(step, state(step), {"seconds": float(step)}, score=score)


def save(checkpoints, step, score=None):
    checkpoints.save(step, state(step), {"seconds": float(step)}, score=score)


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ({1: 0.5, 2: 0.6, 3: 0.4, 4: 0.3}, {2, 4}),
        ({1: 0.5, 2: 0.5, 3: 0.4, 4: 0.3}, {2, 4}),  # The later of two equal ones.
        ({1: 0.5, 2: 0.6, 3: 0.4, 4: 0.6}, {4}),
        ({1: 0.5, 2: 0.6, 3: 0.4, 4: None}, {2, 4}),
        ({1: 0.0, 2: 0.0, 3: 0.0, 4: None}, {3, 4}),
    ],
)
def test_the_best_of_the_states_held_is_saved_with_the_next(checkpoints, scores, kept):
    *held, (last, last_score) = scores.items()
    for step, score in held:
        hold(checkpoints, step, score)
    assert checkpoints.steps == set()
    save(checkpoints, last, last_score)
    assert checkpoints.steps == kept
    assert checkpoints.best == min(kept)
    restored, progress = checkpoints.restore(min(kept), like=state(0))
    assert int(restored.step) == restored.params["model"]["weight"][0] == progress["seconds"]
    np.testing.assert_array_equal(restored.opt_state["momentum"], -restored.batch_stats["mean"])


def test_a_state_worse_than_a_saved_one_is_not_held(checkpoints):
    save(checkpoints, 1, 0.7)
    hold(checkpoints, 2, 0.6)
    save(checkpoints, 3, 0.5)
    assert checkpoints.steps == {1, 3}
    hold(checkpoints, 4, 0.7)
    save(checkpoints, 5, 0.5)
    assert checkpoints.steps == {4, 5}


def test_a_state_is_held_once(checkpoints):
    hold(checkpoints, 1, 0.7)
    save(checkpoints, 2, 0.8)
    save(checkpoints, 3, 0.2)
    assert checkpoints.steps == {2, 3}
