"""Losses against values computed by hand, and their gradients against numerical ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from sage_fusion_ros.training.losses import (
    detail_energy,
    directional_gradient,
    energy_gap,
    feature_cosine,
    joint_gradient,
    precise,
    reference_terms,
    sage_student_terms,
    scd_gap,
    sobel,
    source_terms,
    teacher_terms,
)


def flat(value: float, size: int = 5) -> torch.Tensor:
    return torch.full((1, 1, size, size), value)


def ramp(slope: float, size: int = 5) -> torch.Tensor:
    return (slope * torch.arange(size, dtype=torch.float32)).expand(1, 1, size, size)


def test_sobel_of_a_ramp_is_eight_times_its_slope_inside() -> None:
    # (1 + 2 + 1) weights times a difference over two pixels.
    assert torch.allclose(sobel(ramp(0.1))[..., 1:-1, 1:-1], torch.tensor(0.8))


def test_sobel_pads_with_zeros() -> None:
    # In the corner of a flat 1 both kernels see 1 x 2 + 1 x 1 beside the border.
    assert sobel(flat(1.0))[0, 0, 0, 0].item() == pytest.approx(6.0)
    assert sobel(flat(1.0))[0, 0, 2, 2].item() == 0.0


def test_joint_gradient_asks_for_the_stronger_source() -> None:
    assert joint_gradient(ramp(0.2), ramp(0.2), flat(0.0)).item() == pytest.approx(0.0, abs=1e-6)
    weak = joint_gradient(flat(0.0), ramp(0.2), ramp(0.1))
    assert weak.item() == pytest.approx(sobel(ramp(0.2)).mean().item(), rel=1e-6)


def test_sage_terms_carry_the_published_weights() -> None:
    # One pixel: the Sobel kernels see only their centre, which is 0, so the intensity terms stand alone.
    f, y, t, r = (torch.full((1, 1, 1, 1), value) for value in (0.5, 0.1, 0.9, 0.7))
    expected = 9 * 0.4**2 + 6 * 0.4**2 + 12 * 0.2**2
    assert sage_student_terms(f, y, t, r).item() == pytest.approx(expected, rel=1e-5)


def test_sage_terms_weigh_gradients_27_and_9() -> None:
    # F = Y = T = 0 and a reference that is a ramp: 12 MSE and 9 times the ramp's mean gradient remain.
    zero, reference = flat(0.0), ramp(0.1)
    expected = 12 * (reference**2).mean() + 9 * sobel(reference).mean()
    assert sage_student_terms(zero, zero, zero, reference).item() == pytest.approx(expected.item(), rel=1e-5)
    expected = 9 * (reference**2).mean() + 27 * sobel(reference).mean()
    assert sage_student_terms(zero, reference, zero, zero).item() == pytest.approx(expected.item(), rel=1e-5)


def test_feature_cosine_is_zero_for_equal_directions_and_one_for_right_angles() -> None:
    a = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    b = torch.tensor([[5.0, 0.0], [3.0, 0.0]])  # the first sample parallel, the second at a right angle
    assert feature_cosine([a], [b]).item() == pytest.approx(0.5)
    assert feature_cosine([a, a], [3 * a, b]).item() == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        feature_cosine([a], [a, b])


def test_directional_gradient_sees_sign_and_pattern() -> None:
    # Slopes of 0.1 and -0.1 have equal Sobel magnitudes; the signed difference tells them apart.
    assert directional_gradient(ramp(0.1), ramp(-0.1)).item() == pytest.approx(0.2, rel=1e-5)
    checker = flat(0.0, 4).clone()
    checker[..., ::2] = 0.1
    assert directional_gradient(checker, flat(0.0, 4)).item() == pytest.approx(0.1, rel=1e-5)


def test_scd_gap_is_zero_where_the_fused_image_is_the_sum() -> None:
    generator = torch.Generator().manual_seed(0)
    y, t = torch.rand(2, 1, 8, 8, generator=generator), torch.rand(2, 1, 8, 8, generator=generator)
    assert scd_gap(y + t - 0.3, y, t).item() == pytest.approx(0.0, abs=1e-3)
    assert scd_gap(-y - t, y, t).item() > 2.0


def test_source_and_reference_terms_are_the_two_parts() -> None:
    f, y, t, r = (torch.full((1, 1, 1, 1), value) for value in (0.5, 0.1, 0.9, 0.7))
    assert source_terms(f, y, t).item() == pytest.approx(9 * 0.4**2 + 6 * 0.4**2, rel=1e-5)
    assert reference_terms(f, r).item() == pytest.approx(12 * 0.2**2, rel=1e-5)
    zero, edge = flat(0.0), ramp(0.1)
    expected = 6 * (edge**2).mean() + 27 * sobel(edge).mean()
    assert source_terms(zero, zero, edge).item() == pytest.approx(expected.item(), rel=1e-5)
    assert reference_terms(edge, edge).item() == 0.0


def test_teacher_terms_are_two_errors_and_twice_the_gradient() -> None:
    f, y, t = (torch.full((1, 1, 1, 1), value) for value in (0.5, 0.1, 0.7))
    assert teacher_terms(f, y, t).item() == pytest.approx(0.4**2 + 0.2**2, rel=1e-5)
    # F = T = 0 before a ramp: its mean square, and twice its mean Sobel magnitude.
    expected = (ramp(0.1) ** 2).mean() + 2 * sobel(ramp(0.1)).mean()
    assert teacher_terms(flat(0.0), ramp(0.1), flat(0.0)).item() == pytest.approx(expected.item(), rel=1e-5)


def test_detail_energy_of_a_ramp_is_its_slope() -> None:
    # Forward differences have one column less; there the energy is that of the columns before.
    assert detail_energy(ramp(0.1, 12))[0, 0, :, :9].flatten().tolist() == pytest.approx([0.1] * 108, rel=1e-5)
    assert energy_gap(ramp(0.1), ramp(-0.1)).item() == pytest.approx(0.0, abs=1e-6)  # as much detail, if another
    gap = energy_gap(flat(0.0), ramp(0.1))
    assert gap.item() == pytest.approx(detail_energy(ramp(0.1)).mean().item(), rel=1e-6)


def test_half_precision_is_widened_and_nothing_else() -> None:
    for given, kept in ((torch.bfloat16, torch.float32), (torch.float16, torch.float32)):
        assert precise(torch.zeros(1, dtype=given)).dtype == kept
    for dtype in (torch.float32, torch.float64):
        values = torch.zeros(1, dtype=dtype)
        assert precise(values) is values


# Sobel magnitudes, maxima and absolute values bend at single points, which random pictures do not meet.
@pytest.mark.parametrize(
    ("loss", "inputs"),
    [
        (sobel, 1),
        (joint_gradient, 3),
        (sage_student_terms, 4),
        (source_terms, 3),
        (reference_terms, 2),
        (teacher_terms, 3),
        (lambda a, b: feature_cosine([a, a**2], [b, b + a]), 2),
        (directional_gradient, 2),
        (energy_gap, 2),
        (scd_gap, 3),
    ],
)
def test_gradients(loss: Callable[..., torch.Tensor], inputs: int) -> None:
    generator = torch.Generator().manual_seed(7)
    pictures = [torch.rand((2, 1, 6, 5), generator=generator, dtype=torch.float64) for _ in range(inputs)]
    assert torch.autograd.gradcheck(loss, [picture.requires_grad_() for picture in pictures])
