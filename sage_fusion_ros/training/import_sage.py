"""From the SAGE authors' checkpoint, which everyone downloads for themselves, to a model folder."""

from __future__ import annotations

from pathlib import Path

from sage_fusion_ros.engines.card import ModelCard, read_card, sha256_of
from sage_fusion_ros.errors import ModelError, ParameterError
from sage_fusion_ros.networks.sage import load_published_student
from sage_fusion_ros.training.model_folder import write_model_folder

SOURCE = "github.com/RollingPlain/SAGE_IVIF"
PUBLISHED_SHA256 = "ecfde477ca4cd65401f207d5dc91ce6c475a49891d768dbdb7a66366255ee836"
"""Of checkpoints.pt, 579,020 bytes, as the authors publish it."""
_MARK = "imported_with"
_COMMAND = "sage-fusion models import-sage"


def import_sage(checkpoint: Path, folder: Path) -> ModelCard:
    """Writes model.onnx and card.yaml from a checkpoint of the published SAGE student.

    Args:
        checkpoint: State dict of 121 tensors, the published file or one of the same names and shapes.
        folder: Model folder; its name becomes the model's. Must be new, empty, or of an earlier import.

    Returns:
        The card. Its section training tells where the weights come from and whether the file is the published one.

    Raises:
        ModelError: The checkpoint is missing, unreadable or of another network, its values are no numbers, or the
            folder can't be written to.
        ParameterError: The folder holds something else.
    """
    network = load_published_student(checkpoint)
    _check_free(folder)
    digest = sha256_of(checkpoint)
    published = digest == PUBLISHED_SHA256
    return write_model_folder(
        network,
        folder,
        licence=f"MIT ({SOURCE})" if published else f"MIT, if the weights are those of {SOURCE}; not verified",
        description=(
            "The SAGE student (Wu et al., CVPR 2025) with weights of its authors, converted and not trained here."
            if published
            else "A network of the SAGE student's shape (Wu et al., CVPR 2025) with weights from a file that is not "
            "the published one; converted and not trained here."
        ),
        version="published" if published else digest[:12],
        training={
            "trained_here": False,
            _MARK: _COMMAND,
            "source": SOURCE,
            "checkpoint_sha256": digest,
            "published_checkpoint_sha256": PUBLISHED_SHA256,
            "checkpoint_is_the_published_one": published,
        },
    )


def _check_free(folder: Path) -> None:
    """Raises ParameterError unless the folder is new, empty, or holds the model of an earlier import."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ParameterError(f"--output {folder} is a file; name a folder")
    if not any(folder.iterdir()):
        return
    try:
        own = read_card(folder).training.get(_MARK) == _COMMAND
    except ModelError:
        own = False
    if not own:
        raise ParameterError(f"--output {folder} holds something that was not imported; name another folder")
