"""Models made of a plain function pair, or of a Flax NNX module.

A config names a constructor of your own by its import path, ``name="my_package.my_module:net"``.
The constructor takes ``num_classes`` and your options, and returns `from_function` or `from_nnx`:

    >>> import jax, math
    >>> from fdcmkd_jax import adapters
    >>> def net(num_classes, width=16):
    ...     def init(key, x):
    ...         first, last = jax.random.split(key)
    ...         size = math.prod(x.shape[1:])
    ...         return {
    ...             "hidden": adapters.init_dense(first, size, width),
    ...             "classifier": adapters.init_dense(last, width, num_classes),
    ...         }
    ...
    ...     def apply(params, x, *, perturb):
    ...         flat = x.reshape(len(x), -1)
    ...         features = perturb(jnp.tanh(adapters.dense(params["hidden"], flat)))
    ...         logits = adapters.dense(params["classifier"], features)
    ...         return Outputs(logits=logits, features=features)
    ...
    ...     return from_function(apply, init)
    >>> model = net(num_classes=3)
    >>> variables = model.init(jax.random.key(0), jnp.ones((2, 4, 4, 1)), train=False)
    >>> model.apply(variables, jnp.ones((2, 4, 4, 1)), train=False).logits.shape
    (2, 3)

``perturb`` marks the features: the train step measures the gradient of every loss term there, the
classifier's included.
"""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax import nnx
from jaxtyping import Array, Bool, Float

from fdcmkd_jax.types import Outputs, Params, at_least_float32


def from_function(
    apply: Callable[..., Outputs], init: Callable[[Array, Array], Params]
) -> nn.Module:
    """Makes a model of a pair of pure functions.

    Args:
        apply: ``(params, x [N, ...], *, perturb) -> Outputs``. It calls
            ``features = perturb(features)`` exactly once, on the features that it returns and that
            its classifier reads. It is passed further keywords if it takes them: ``train`` (bool),
            ``mask`` (``[N]``, false where a row is padding, or None) and ``key`` (a typed key for
            dropout; None in evaluation).
        init: ``(key, x) -> params``, a tree of float arrays that depends on ``x`` by its shape
            alone, N excluded.

    Returns:
        A module called as ``module(x, *, train, mask=None) -> Outputs``, as those of
        `fdcmkd_jax.models`; logits and features are at least float32. Its parameters stand under
        ``"function"``. It has no batch statistics; use `from_nnx` for those.

    Raises:
        ValueError: If ``apply`` does not take ``perturb``; when called, if it does not call it
            exactly once or returns no `Outputs`.
    """
    if "perturb" not in _accepted(apply):
        raise ValueError(
            "apply must take the keyword perturb, to mark its features; "
            f"it takes {inspect.signature(apply)}."
        )
    return FunctionModel(apply, init)


def from_nnx(factory: Callable[..., nnx.Module]) -> nn.Module:
    """Makes a model of a Flax NNX module.

    BatchNorm statistics are updated in training and used in evaluation; dropout draws from the
    train step's key. Both are switched by the module's ``train()`` and ``eval()``. Over several
    devices, pass ``axis_name`` from your constructor's keyword of that name to ``nnx.BatchNorm``.

    Args:
        factory: ``(*, rngs: nnx.Rngs) -> nnx.Module``: the module's class with its other arguments
            filled in by ``functools.partial``. The module is called as
            ``module(x [N, ...], *, perturb) -> Outputs``; see `from_function` for ``perturb`` and
            the further keywords ``train`` and ``mask``. Its variables are of the types
            ``nnx.Param`` and ``nnx.BatchStat``, beside random streams.

    Returns:
        A module called as ``module(x, *, train, mask=None) -> Outputs``; logits and features are at
        least float32. Its parameters and statistics stand under ``"module"``.

    Raises:
        ValueError: When called, if the NNX module does not take ``perturb`` or does not call it
            exactly once, returns no `Outputs`, or holds variables of another type, which the
            training state would lose.

    Examples:
        >>> import functools, jax
        >>> class Net(nnx.Module):
        ...     def __init__(self, size, num_classes, *, rngs):
        ...         self.norm = nnx.BatchNorm(size, rngs=rngs)
        ...         self.classifier = nnx.Linear(size, num_classes, rngs=rngs)
        ...
        ...     def __call__(self, x, *, perturb):
        ...         features = perturb(self.norm(x))
        ...         return Outputs(logits=self.classifier(features), features=features)
        >>> model = from_nnx(functools.partial(Net, 4, 3))
        >>> variables = model.init(jax.random.key(0), jnp.ones((2, 4)), train=False)
        >>> sorted(variables)
        ['batch_stats', 'params', 'perturbations']
    """
    return NNXModel(factory)


class FunctionModel(nn.Module):
    """A model made by `from_function`.

    Attributes:
        apply_function: See `from_function`.
        init_function: See `from_function`.
    """

    apply_function: Callable[..., Outputs]
    init_function: Callable[[Array, Array], Params]

    @nn.compact
    def __call__(
        self, x: Float[Array, "N *shape"], *, train: bool, mask: Bool[Array, " N"] | None = None
    ) -> Outputs:
        """Runs the function; see `from_function`."""
        params = self.param("function", lambda key: self.init_function(key, x))
        draws = train and self.has_rng("dropout")
        keywords = {
            "train": train,
            "mask": mask,
            "key": self.make_rng("dropout") if draws else None,
        }
        taken = _accepted(self.apply_function)
        perturb = _Perturb(self)
        outputs = self.apply_function(
            params,
            x,
            perturb=perturb,
            **{name: value for name, value in keywords.items() if name in taken},
        )
        return _checked("apply", outputs, perturb)


class NNXModel(nn.Module):
    """A model made by `from_nnx`.

    Attributes:
        factory: See `from_nnx`.
    """

    factory: Callable[..., nnx.Module]

    @nn.compact
    def __call__(
        self, x: Float[Array, "N *shape"], *, train: bool, mask: Bool[Array, " N"] | None = None
    ) -> Outputs:
        """Runs the NNX module; see `from_nnx`."""
        perturb = _Perturb(self)
        # While the variables are created, no device axis exists to synchronize statistics over.
        train = train and not self.is_initializing()
        inner = nnx.bridge.ToLinen(_Build(self.factory), metadata_fn=None, name="module")
        outputs = inner(x, nnx_method=_run, train=train, mask=mask, perturb=perturb)
        return _checked("the NNX module", outputs, perturb)


@dataclasses.dataclass(frozen=True)
class _Build:
    """Builds the NNX module, with random streams for whatever it asks for.

    Attributes:
        factory: See `from_nnx`.
    """

    factory: Callable[..., nnx.Module]

    def __call__(self, *, rngs: nnx.Rngs) -> nnx.Module:
        """Builds the module from the streams that Linen has: ``params`` or ``dropout`` or none."""
        # In training every stream comes from the step's key: the bridge's own default stream is
        # the same in every step.
        stream = next((name for name in ("params", "dropout") if name in rngs), "default")
        module = self.factory(rngs=nnx.Rngs(rngs[stream]()))
        for path, variable in nnx.to_flat_state(nnx.state(module, nnx.Not(nnx.RngState))):
            if type(variable) not in (nnx.Param, nnx.BatchStat):
                raise ValueError(
                    "variables of an NNX module must be nnx.Param or nnx.BatchStat, got "
                    f"{type(variable).__name__} at {'.'.join(map(str, path))}."
                )
        return module


def _run(
    module: nnx.Module, x: Array, *, train: bool, mask: Array | None, perturb: "_Perturb"
) -> Any:
    """Calls an NNX module in training or evaluation mode with the keywords that it takes."""
    run: Any = module
    taken = _accepted(run)
    if "perturb" not in taken:
        raise ValueError(
            f"{type(module).__name__} must take the keyword perturb, to mark its features; "
            f"it takes {inspect.signature(run)}."
        )
    module.train() if train else module.eval()
    keywords = {"train": train, "mask": mask}
    return run(x, perturb=perturb, **{k: v for k, v in keywords.items() if k in taken})


class _Perturb:
    """Marks a model's features, and counts how often."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.calls = 0

    def __call__(self, features: Array) -> Array:
        """Returns the features, at least float32, plus the shift whose gradient is measured."""
        self.calls += 1
        return self.module.perturb("features", at_least_float32(jnp.asarray(features)))


def _accepted(function: Callable[..., Any]) -> frozenset[str]:
    """Returns those of the keywords above that a function takes by name or by ``**``."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return frozenset({"perturb", "train", "mask", "key"})
    return frozenset(parameter.name for parameter in parameters)


def _checked(name: str, outputs: Any, perturb: _Perturb) -> Outputs:
    """Returns the outputs, at least float32; raises ValueError where a contract is broken."""
    if not isinstance(outputs, Outputs):
        raise ValueError(f"{name} must return Outputs, got {type(outputs).__name__}.")
    if perturb.calls != 1:
        raise ValueError(
            f"{name} must call perturb exactly once, on its features; got {perturb.calls} calls."
        )
    return dataclasses.replace(
        outputs,
        logits=at_least_float32(outputs.logits),
        features=at_least_float32(outputs.features),
    )
