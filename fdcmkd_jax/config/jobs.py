"""The models that a plan trains, as jobs of the training loop."""

from collections.abc import Mapping

from fdcmkd_jax import methods
from fdcmkd_jax.config.directions import Direction
from fdcmkd_jax.config.plan import Plan
from fdcmkd_jax.training.job import Job
from fdcmkd_jax.training.teachers import Teacher, TeacherGroup, join_variables


def teacher_job(plan: Plan, modality: str) -> Job:
    """Describes the training of one modality's teacher."""
    return Job(
        name=f"teachers/{modality}",
        title=f"teacher {modality}",
        model=plan.models[modality],
        modality=modality,
        method=methods.make("none"),
        weights={"task": 1.0},
        teacher=None,
        train=plan.teacher_view,
        num_epochs=plan.teacher.num_epochs,
        optimizer=plan.teacher_optimizers[modality],
    )


def student_job(plan: Plan, direction: Direction, teachers: Mapping[str, Teacher]) -> Job:
    """Describes the training of one direction's student.

    Args:
        plan: The plan of the run.
        direction: The student with its teachers.
        teachers: The trained teachers; those whose outputs are stored are not among them.
    """
    if direction in plan.stored:
        teacher = None
    elif plan.method.needs.several_teachers:
        teacher = Teacher(
            TeacherGroup({name: plan.models[name] for name in direction.teachers}),
            direction.teachers,
            join_variables({name: teachers[name].variables for name in direction.teachers}),
        )
    else:
        teacher = teachers[direction.teachers[0]]
    return Job(
        name=direction.folder,
        title=f"student {direction}",
        model=plan.models[direction.student],
        modality=direction.student,
        method=plan.method,
        weights=plan.weights,
        teacher=teacher,
        train=plan.student_view,
        num_epochs=plan.context.train.num_epochs,
        optimizer=plan.student_optimizers[direction.student],
        stored=plan.stored.get(direction, {}),
    )
