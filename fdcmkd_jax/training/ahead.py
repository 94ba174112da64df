"""Programs of later models, compiled in the background while earlier ones train."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from concurrent import futures

import jax
import numpy as np
from absl import logging

from fdcmkd_jax.data.host import AsEvaluated
from fdcmkd_jax.training.evaluation import EvalParams
from fdcmkd_jax.training.job import Job, RunContext
from fdcmkd_jax.training.start import initial_state, prepare
from fdcmkd_jax.training.state import abstract_variables
from fdcmkd_jax.types import Params


@contextlib.contextmanager
def compiling_ahead(
    now: Sequence[Job], later: Sequence[Job], context: RunContext
) -> Iterator[None]:
    """Compiles programs in a thread while the body trains the first models.

    The thread calls the programs of evaluation, and the step of the later models, on the first
    examples, so that the loop finds them compiled. It changes no result. It runs where a processor
    core is free for it: on one CPU device, in one process with several cores.

    Args:
        now: The models that the body trains; their methods have no parameters.
        later: The models that train together after them. Their teachers' values do not matter.
        context: The shared parts of the run.
    """
    is_free = jax.default_backend() == "cpu" and len(os.sched_getaffinity(0)) > 1
    # Programs on several devices wait for each other: only one thread may start them.
    if not (now and later and is_free) or context.devices.count > 1:
        yield
        return
    with futures.ThreadPoolExecutor(1) as pool:
        pool.submit(_compile, now, later, context)
        yield


def _untrained(job: Job, context: RunContext) -> Params:
    """Returns zeros in the place of a model's variables."""
    stage = context.host_stage((job.modality,), ())
    x = AsEvaluated(job.train, stage)[0][job.modality]
    shapes = abstract_variables(job.model, jax.tree.map(lambda part: np.asarray(part)[None], x))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def _compile(now: Sequence[Job], later: Sequence[Job], context: RunContext) -> None:
    reading = dataclasses.replace(context.input, num_workers=0, num_threads=1)
    context = dataclasses.replace(context, input=reading)
    try:
        for job in now:
            _evaluate(job, EvalParams(_untrained(job, context), {}), context)
        states = {job.name: initial_state(job, context) for job in later}
        count = min(context.input.batch_size, len(later[0].train))
        first = [later[0].train[row] for row in range(count)]
        training = prepare([dataclasses.replace(job, train=first) for job in later], context)
        batch = context.devices.split(next(training.data))
        training.data.close()
        placed = context.devices.replicate(states)
        trained, _ = training.step(placed, training.teacher_variables, batch)
        for job in later:
            state = trained[job.name]
            _evaluate(job, EvalParams(state.variables, state.params["method"]), context)
    except Exception as error:  # The loop meets it again, where it is reported.
        logging.debug("not compiled in the background: %s", error)


def _evaluate(job: Job, params: EvalParams, context: RunContext) -> None:
    first = context.splits[context.evaluate.select_split][0]
    evaluator = context.evaluator(job.model, job.modality, job.method)
    evaluator({"now": context.devices.replicate(params)}, [first])
