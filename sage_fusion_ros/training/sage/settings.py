"""Settings of a run of the whole SAGE method beyond those every run has."""

from __future__ import annotations

from dataclasses import dataclass

from sage_fusion_ros.errors import ParameterError

STUDENTS = ("sage", "sage_fast")
SOLVERS = ("alternate", "unrolled")


@dataclass(frozen=True)
class SageSettings:
    """Teacher, student and how the two are trained together.

    Attributes:
        student: Network that is exported: "sage" (the paper's) or "sage_fast".
        solver: "alternate": student and teacher take turns, each seeing the other as fixed, as in the released code;
            "unrolled": the teacher's step also sees how the student's next step would answer (see training/bilevel.py).
        teacher_width: Channels of the teacher's streams; 64 is the published one, less is for small machines. A
            multiple of 8.
        teacher_learning_rate: Of the teacher, from which it falls along the same curve as the student's.
        teacher_warmup: Steps in which only the teacher is trained, before the student follows it.
        masks: Masks of each camera that the teacher is shown.
        prior: Where the masks come from: "none", "sam:FOLDER", "labels:FOLDER", "hand:FOLDER", "perception[:MODEL]".
        labels: Folder beside the images with label maps for the task term; empty: none.
        validation_share: Share of the training pairs that is kept for the score that chooses the best checkpoint.
        skip_damaged: Leave out images, masks and label maps that can't be read, and list them, instead of stopping.
    """

    student: str = "sage"
    solver: str = "alternate"
    teacher_width: int = 64
    teacher_learning_rate: float = 5e-4
    teacher_warmup: int = 0
    masks: int = 4
    prior: str = "none"
    labels: str = ""
    validation_share: float = 0.0
    skip_damaged: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (("student", self.student, STUDENTS), ("solver", self.solver, SOLVERS)):
            if value not in known:
                raise ParameterError(f"sage: {name} is '{value}'; there are {', '.join(known)}")
        if self.teacher_width < 8 or self.teacher_width % 8 or self.masks < 1 or self.teacher_warmup < 0:
            raise ParameterError(
                f"sage: teacher_width is {self.teacher_width}, masks {self.masks} and teacher_warmup "
                f"{self.teacher_warmup}; expected a multiple of 8, 1 or more, and 0 or more"
            )
        if self.teacher_learning_rate <= 0 or not 0 <= self.validation_share <= 0.5:
            raise ParameterError("sage: teacher_learning_rate must be above 0 and validation_share in 0..0.5")
