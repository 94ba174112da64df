"""Evaluation that keeps a small split on the devices; initial parameters that compile quickly."""

import chex
import jax
import jax.numpy as jnp
from builders import NUM_CLASSES, toy_data, toy_net
from step_setting import TASK, on

from fdcmkd_jax import methods
from fdcmkd_jax.data.input import InputOptions
from fdcmkd_jax.training import cpu, evaluation
from fdcmkd_jax.training.devices import AXIS

MODEL = toy_net(NUM_CLASSES, axis_name=AXIS)


class Counted(list):
    """A split that counts how often it is read."""

    reads = 0

    def __getitem__(self, index):
        self.reads += 1
        return super().__getitem__(index)


def test_a_split_that_stays_on_the_devices_gives_the_same_bits(monkeypatch):
    split = Counted(toy_data(data_dir=None, seed=0).splits["val"])
    drawn = MODEL.init(jax.random.key(0), jnp.asarray(split[0]["audio"])[None], train=False)
    variables = {name: drawn[name] for name in ("params", "batch_stats")}
    candidates = {"now": evaluation.EvalParams(on(1).replicate(variables), {})}

    def evaluator():
        parts = (None, "audio", methods.make("none"), TASK, on(1), 8, InputOptions(8))
        return evaluation.Evaluator(MODEL, *parts)

    kept = evaluator()
    first = kept(candidates, split)["now"]
    reads = split.reads
    again = kept(candidates, split)["now"]
    assert split.reads == reads
    monkeypatch.setattr(evaluation, "KEPT_MB", 0)
    plain = evaluator()
    streamed = [plain(candidates, split, with_examples=True)["now"] for _ in range(2)]
    assert split.reads > reads
    for result in (again, *streamed):
        assert result.heads == first.heads
        chex.assert_trees_all_equal(result.totals, first.totals)
    assert first.examples == {}
    assert streamed[0].examples["id"].tolist() == [int(example["id"]) for example in split]


def test_options_of_programs_that_run_once_change_no_bit(monkeypatch):
    def initialize(key):
        return dict(MODEL.init(key, jnp.zeros((1, 6, 4, 1)), train=False))

    jax.config.update("jax_disable_most_optimizations", False)  # As in use.
    try:
        usual = jax.jit(initialize)(jax.random.key(0))
        quick = jax.jit(initialize, compiler_options=cpu.run_once())(jax.random.key(0))
    finally:
        jax.config.update("jax_disable_most_optimizations", True)
    chex.assert_trees_all_equal(quick, usual)
    assert cpu.run_once()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert cpu.run_once() == {}
