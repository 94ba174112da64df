"""Builds a checked plan from a resolved config, before anything is trained or written."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from flax import linen as nn
from jax.experimental import multihost_utils

from fdcmkd_jax import data, models, tasks
from fdcmkd_jax.config.check_method import check_method
from fdcmkd_jax.config.directions import Direction
from fdcmkd_jax.config.method import build_method, check_weights
from fdcmkd_jax.config.plan import Plan
from fdcmkd_jax.config.resolve import CONSTRUCTORS, check_named
from fdcmkd_jax.data import augment
from fdcmkd_jax.data.base import Source
from fdcmkd_jax.data.index import in_memory
from fdcmkd_jax.data.input import InputOptions, steps_per_epoch
from fdcmkd_jax.data.pairing import View
from fdcmkd_jax.methods import Method
from fdcmkd_jax.registry import ConfigError, build_once, build_section, unknown
from fdcmkd_jax.training import optim, stored_features
from fdcmkd_jax.training.devices import AXIS, Devices
from fdcmkd_jax.training.job import RunContext
from fdcmkd_jax.training.stored_features import StoredRows


def build(settings: Mapping[str, Any], workdir: Path) -> Plan:
    """Builds the plan of a run, so that every mistake shows before anything is trained or written.

    Args:
        settings: A resolved config; see `resolve`.
        workdir: The run's folder, which holds the prepared data unless the config names another.

    Returns:
        The plan.

    Raises:
        ConfigError: On a mistake in the config, or missing data.
    """
    sections = {
        name: build_section(CONSTRUCTORS[name], name, settings[name])
        for name in ("input", "teacher", "train", "evaluate", "checkpoint")
    }
    devices = Devices(sections["train"].parallel)
    for name in ("input", "evaluate"):
        devices.check(sections[name].batch_size)
    method = build_method(settings["method"])
    check_weights(settings["weights"], method)
    make_optimizers(settings, num_epochs=1, steps_per_epoch=1)  # Mistakes show at once.
    dataset = _prepare_data(settings, workdir)
    task = tasks.make(**settings["task"], num_classes=len(dataset.class_names))
    directions = _directions(settings, method)
    used = _check_modalities(settings, dataset, directions, sections["input"])
    splits = _read_splits(dataset, sections["input"])
    view = functools.partial(View, splits["train"], seed=settings["seed"])
    teacher_view, student_view = view(), build_section(view, "pairing", settings["pairing"])
    example = dataset.first_example()
    axis_name = AXIS if sections["train"].sync_batch_norm else None
    context = RunContext(
        workdir=workdir,
        seed=settings["seed"],
        task=task,
        splits=splits,
        transform=dataset.transform,
        augmented={*dataset.augmented, *sections["input"].augment},
        devices=devices,
        **{name: sections[name] for name in ("input", "train", "evaluate", "checkpoint")},
    )
    plan = Plan(
        context=context,
        directions=directions,
        data_name=settings["data"]["name"],
        dataset=dataset,
        teacher_view=teacher_view,
        student_view=student_view,
        example=example,
        models=_models(settings, used, dataset, example, axis_name),
        model_settings={modality: settings["models"][modality] for modality in used},
        method=method,
        weights=settings["weights"],
        teacher=sections["teacher"],
        teacher_optimizers=make_optimizers(
            settings,
            num_epochs=max(1, sections["teacher"].num_epochs),
            steps_per_epoch=_epoch_steps(teacher_view, sections["input"]),
        ),
        student_optimizers=make_optimizers(
            settings,
            num_epochs=sections["train"].num_epochs,
            steps_per_epoch=_epoch_steps(student_view, sections["input"]),
        ),
        stored=_stored_outputs(settings, directions, student_view, task.num_classes),
    )
    check_method(plan)
    return plan


def _prepare_data(settings: Mapping[str, Any], workdir: Path) -> data.Dataset:
    """Builds the data set; the first process prepares the records before the others read them."""
    options = dict(settings["data"])
    folder = Path(options.pop("data_dir") or workdir / "data").absolute()
    if jax.process_index():
        multihost_utils.sync_global_devices("data prepared")
    dataset = data.make(**options, data_dir=folder, seed=settings["seed"])
    if not jax.process_index():
        multihost_utils.sync_global_devices("data prepared")
    return dataset


def _directions(settings: Mapping[str, Any], method: Method) -> tuple[Direction, ...]:
    directions = tuple(Direction.parse(text) for text in settings["directions"])
    if len(set(directions)) != len(directions):
        raise ConfigError(f"directions repeat: {[str(direction) for direction in directions]}.")
    for direction in directions:
        if len(direction.teachers) > 1 and not method.needs.several_teachers:
            raise ConfigError(
                f"{direction} has several teachers, but the method {settings['method']['name']!r} "
                "learns from one; put it into the method multi_teacher."
            )
    return directions


def _stored_outputs(
    settings: Mapping[str, Any],
    directions: tuple[Direction, ...],
    view: Source,
    num_classes: int,
) -> dict[Direction, dict[str, StoredRows]]:
    """Reads the stored outputs of each direction whose teachers have them.

    Raises:
        ConfigError: If no direction has such a teacher, a direction mixes stored and running
            teachers, or a file is refused.
    """
    paths = {name: path for name, path in settings["teacher"]["features"].items() if path}
    teachers = {name for direction in directions for name in direction.teachers}
    for modality in paths:
        if modality not in teachers and modality not in settings["models"]:
            raise unknown("teacher in teacher.features:", modality, teachers)
    for direction in directions:
        stored = paths.keys() & set(direction.teachers)
        if stored and stored != set(direction.teachers):
            raise ConfigError(
                f"{direction} mixes teachers with stored features ({', '.join(sorted(stored))}) "
                "with others; store the features of all of them, or of none."
            )
    rows = {
        name: StoredRows(view, stored_features.load(paths[name], num_classes=num_classes))
        for name in paths.keys() & teachers
    }
    return {
        direction: {name: rows[name] for name in direction.teachers}
        for direction in directions
        if direction.teachers[0] in rows
    }


def _check_modalities(
    settings: Mapping[str, Any],
    dataset: data.Dataset,
    directions: tuple[Direction, ...],
    options: InputOptions,
) -> list[str]:
    """Checks every modality the config names; returns those that some model reads."""
    teachers = {name for direction in directions for name in direction.teachers}
    students = {direction.student for direction in directions}
    stored = {name for name, path in settings["teacher"]["features"].items() if path}
    used = sorted((teachers - stored) | students)
    for modality in (*used, *options.augment):
        if modality not in dataset.modalities:
            raise unknown(f"modality of {settings['data']['name']}", modality, dataset.modalities)
    for modality in used:
        if modality not in settings["models"]:
            raise unknown("modality in the config section models:", modality, settings["models"])
    for modality, keywords in options.augment.items():
        check_named(f"input.augment.{modality}", keywords)
        augment.make(**keywords)
    for key, folders in (
        ("teacher.checkpoints", settings["teacher"]["checkpoints"]),
        ("teacher.start_from", settings["teacher"]["start_from"]),
        ("train.start_from", settings["train"]["start_from"]),
    ):
        for modality, folder in folders.items():
            if folder and modality not in settings["models"]:
                raise unknown(f"modality in {key}:", modality, settings["models"])
    return used


def _read_splits(dataset: data.Dataset, options: InputOptions) -> dict[str, Source]:
    if not options.in_memory:
        return dict(dataset.splits)
    return {name: in_memory(split) for name, split in dataset.splits.items()}


def _models(
    settings: Mapping[str, Any],
    used: list[str],
    dataset: data.Dataset,
    example: data.Example,
    axis_name: str | None,
) -> dict[str, nn.Module]:
    """Makes the models, behind the data set's preprocessing where examples hold raw arrays."""
    num_classes = len(dataset.class_names)
    result = {}
    for modality in used:
        options = settings["models"][modality]
        model = models.make(**options, num_classes=num_classes, axis_name=axis_name)
        if isinstance(example[modality], Mapping):
            model = models.Preprocessed(model, dataset.preprocessing[modality].function)
        result[modality] = model
    return result


def make_optimizers(
    settings: Mapping[str, Any], *, num_epochs: int, steps_per_epoch: int
) -> dict[str, optim.Optimizer]:
    """Makes the optimizer of each modality that has a model.

    Args:
        settings: A resolved config. The section ``optim`` holds the keywords of `optim.make`, and
            under ``by_modality`` those that differ for a modality.
        num_epochs: Length of the decay in epochs.
        steps_per_epoch: Steps in an epoch.

    Raises:
        ConfigError: If a modality or a keyword is unknown, or a value is refused.
    """
    options = dict(settings["optim"])
    by_modality = options.pop("by_modality", {})
    for modality in by_modality:
        if modality not in settings["models"]:
            raise unknown("modality in optim.by_modality:", modality, settings["models"])
    result = {}
    for modality in settings["models"]:
        name = f"optim.by_modality.{modality}" if modality in by_modality else "optim"
        result[modality] = build_once(
            "section",
            {name: optim.make},
            name,
            {**options, **by_modality.get(modality, {})},
            num_epochs=num_epochs,
            steps_per_epoch=steps_per_epoch,
        )
    return result


def _epoch_steps(view: Source, options: InputOptions) -> int:
    try:
        return steps_per_epoch(view, options)
    except ValueError as error:
        raise ConfigError(f"section 'input': {error}") from error
