"""Directions: the modalities of the teachers and of the student they teach."""

from dataclasses import dataclass

from fdcmkd_jax.registry import ConfigError


@dataclass(frozen=True)
class Direction:
    """A pair of teachers and student, written ``audio->image`` or ``audio+depth->image``.

    Attributes:
        teachers: The teachers' modalities.
        student: The student's modality.
    """

    teachers: tuple[str, ...]
    student: str

    @classmethod
    def parse(cls, text: str) -> "Direction":
        """Parses ``"audio->image"`` or, with several teachers, ``"audio+depth->image"``.

        One of several teachers may be of the student's modality, a single one may not.

        Raises:
            ConfigError: If the text has another form, or names one modality twice.
        """
        before, arrow, student = (part.strip() for part in str(text).partition("->"))
        teachers = tuple(part.strip() for part in before.split("+"))
        if not (all(teachers) and arrow and student) or teachers == (student,):
            raise ConfigError(
                f"a direction is 'teacher->student' with two modalities, got {text!r}."
            )
        if len(set(teachers)) != len(teachers):
            raise ConfigError(f"a direction names each teacher once, got {text!r}.")
        return cls(teachers, student)

    @property
    def source(self) -> str:
        """The teachers' modalities, joined by ``+``."""
        return "+".join(self.teachers)

    def __str__(self) -> str:
        return f"{self.source}->{self.student}"

    @property
    def folder(self) -> str:
        """Its folder below the workdir."""
        return f"students/{self.source}-to-{self.student}"
