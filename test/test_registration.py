"""Lenses, homographies and planes map pixels as they should; the image is RGB itself where thermal does not reach."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_fusion_ros.errors import CalibrationError
from sage_fusion_ros.pipeline.camera_model import CameraModel
from sage_fusion_ros.pipeline.fusion_pipeline import FusionPipeline, Wants
from sage_fusion_ros.pipeline.pixel_maps import Extrinsics, HomographyMap, PlaneMap, resizing
from sage_fusion_ros.pipeline.registration import Coverage, Registrar, _points, resize_to
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.pipeline.types import Frame, FramePair

K = (300.0, 0.0, 159.5, 0.0, 305.0, 119.5, 0.0, 0.0, 1.0)
LENSES = {
    "none": ("plumb_bob", ()),
    "plumb_bob": ("plumb_bob", (-0.28, 0.07, 0.0006, -0.0004, 0.002)),
    "rational": ("rational_polynomial", (0.2, -0.1, 0.0004, 0.0002, 0.01, 0.4, -0.05, 0.003)),
    "equidistant": ("equidistant", (-0.02, 0.004, -0.003, 0.0006)),
    "fisheye without coefficients": ("fisheye", ()),
}
HERE = Extrinsics((1, 0, 0, 0, 1, 0, 0, 0, 1), (0.0, 0.0, 0.0))


def lens(name="none", width=320, height=240, matrix=K):
    return CameraModel(width, height, matrix, *LENSES[name])


def homography(matrix, size=(320, 240), thermal=(320, 240)):
    return HomographyMap(tuple(np.asarray(matrix, float).ravel()), size, thermal)


def grid(width=320, height=240, step=20):
    return np.stack(np.meshgrid(np.arange(0, width, step), np.arange(0, height, step)), -1).reshape(-1, 2).astype(float)


@pytest.mark.parametrize("name", LENSES)
def test_a_ray_is_seen_at_the_pixel_it_came_from(name):
    camera = lens(name)
    rays = camera.rays(grid())
    assert np.isfinite(rays).all()
    back = camera.project(np.column_stack([rays, np.ones(len(rays))]) * 7.0)
    assert np.abs(back - grid()).max() < 1e-3


@given(st.floats(-0.5, 0.5), st.floats(-0.3, 0.3), st.floats(-0.02, 0.02), st.sampled_from(["plumb_bob", "fisheye"]))
@settings(max_examples=60, deadline=None)
def test_rays_are_the_inverse_or_say_that_there_is_none(k1, k2, p1, model):
    camera = CameraModel(320, 240, K, model, (k1, k2, p1, -p1))
    rays = camera.rays(grid())
    known = np.isfinite(rays).all(axis=1)
    back = camera.project(np.column_stack([rays, np.ones(len(rays))]))
    assert (np.hypot(*(back - grid())[known].T) <= 0.5).all()
    assert known[np.abs(grid() - [159.5, 119.5]).sum(axis=1).argmin()], "the middle is always known"


def test_what_the_distortion_folds_back_is_not_seen():
    camera = CameraModel(320, 240, K, "plumb_bob", (-0.5, 0.0, 0.0, 0.0))
    # r (1 - r^2 / 2) turns at r = sqrt(2/3): a point far aside would otherwise be seen in the image's middle.
    assert np.isfinite(camera.project(np.array([[0.7, 0.0, 1.0]]))).all()
    assert np.isnan(camera.project(np.array([[1.4, 0.0, 1.0], [0.0, 0.0, -1.0], [np.nan, 0, 1]]))).all()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"matrix": (0.0,) * 9}, "not calibrated"),
        ({"matrix": (np.nan, *K[1:])}, "finite"),
        ({"matrix": (-300.0, *K[1:])}, "focal lengths"),
        ({"matrix": K[:8]}, "9 finite numbers"),
        ({"width": 0}, "image size 0x240"),
        ({"height": 4_000_000_000}, "image size"),
        ({"distortion_model": "x" * 5000}, "distortion model 'xxxx"),
        ({"distortion": (0.1, 0.2, 0.3)}, "3 coefficients; expected 0 or 4 or 5"),
        ({"distortion": (0.1, np.inf, 0.0, 0.0)}, "finite"),
        ({"distortion": (1e300, 0.0, 0.0, 0.0)}, "finite"),
    ],
)
def test_a_camera_that_is_none_is_refused(changes, text):
    given_values = {"width": 320, "height": 240, "matrix": K, "distortion_model": "plumb_bob", "distortion": ()}
    with pytest.raises(CalibrationError) as caught:
        CameraModel(**{**given_values, **changes})
    assert text in str(caught.value)
    assert len(str(caught.value)) < 400


def test_the_plane_agrees_with_a_point_worked_out_by_hand():
    thermal = lens(matrix=(200.0, 0, 100.0, 0, 200.0, 80.0, 0, 0, 1.0))
    # 0.1 m to the right of the RGB camera: what lies 10 m ahead of the RGB camera lies 0.1 m to its left.
    extrinsics = Extrinsics(HERE.rotation, (0.1, 0.0, 0.0))
    seen = PlaneMap(lens(), thermal, extrinsics, 10.0).thermal_points(np.array([[159.5, 119.5]]), *((320, 240),) * 2)
    assert seen == pytest.approx(np.array([[100.0 - 200 * 0.1 / 10, 80.0]]))
    near = PlaneMap(lens(), thermal, extrinsics, 1.0).thermal_points(np.array([[159.5, 119.5]]), *((320, 240),) * 2)
    assert near == pytest.approx(np.array([[80.0, 80.0]]))


@given(st.lists(st.floats(-0.4, 0.4), min_size=3, max_size=3), st.lists(st.floats(-0.3, 0.3), min_size=3, max_size=3))
@settings(max_examples=40, deadline=None)
def test_a_plane_without_distortion_is_the_homography_of_the_textbook(turn, shift):
    rotation, _ = cv2.Rodrigues(np.array(turn))
    plane = PlaneMap(lens(), lens(), Extrinsics(tuple(rotation.ravel()), tuple(shift)), 5.0)
    k = np.array(K).reshape(3, 3)
    # Hartley and Zisserman, 13.1: K' (R' + t' n^T / d) K^-1, with the RGB camera first.
    there, from_there = rotation.T, -rotation.T @ np.array(shift)
    matrix = k @ (there + np.outer(from_there, [0, 0, 1]) / 5.0) @ np.linalg.inv(k)
    expected = np.column_stack([grid(), np.ones(len(grid()))]) @ matrix.T
    seen = plane.thermal_points(grid(), (320, 240), (320, 240))
    ahead = expected[:, 2] > 1e-6
    assert np.allclose(seen[ahead], (expected[:, :2] / expected[:, 2:])[ahead], atol=1e-3)


def test_a_quaternion_is_the_rotation_that_opencv_makes():
    angle, axis = 0.7, np.array([1.0, 2.0, 3.0]) / np.sqrt(14)
    found = Extrinsics.from_quaternion((*(axis * np.sin(angle / 2)), np.cos(angle / 2)), (1.0, 2.0, 3.0))
    assert np.allclose(np.array(found.rotation).reshape(3, 3), cv2.Rodrigues(axis * angle)[0])
    for wrong in ((0.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0), (np.nan, 0.0, 0.0, 1.0)):
        with pytest.raises(CalibrationError, match="quaternion"):
            Extrinsics.from_quaternion(wrong, (0.0, 0.0, 0.0))
    with pytest.raises(CalibrationError, match="no rotation"):
        Extrinsics((1, 0, 0, 0, 1, 0, 0, 0, -1), (0.0, 0.0, 0.0))


matrices = st.builds(
    lambda s, a, x, y, p, q: np.array(
        [[s * np.cos(a), -s * np.sin(a), x], [s * np.sin(a), s * np.cos(a), y], [p / 320, q / 240, 1.0]]
    ),
    *(st.floats(0.5, 2), st.floats(-3, 3), st.floats(-90, 90), st.floats(-90, 90)),
    *(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2)),
)


@given(matrices, st.sampled_from([(320, 240), (640, 480), (160, 120)]), st.sampled_from([(80, 60), (160, 120)]))
@settings(max_examples=60, deadline=None)
def test_a_homography_maps_back_what_it_maps_at_any_size_of_the_images(matrix, rgb_size, thermal_size):
    known = homography(matrix, thermal=(160, 120))
    there = grid(160, 120, 13)
    rgb = cv2.perspectiveTransform(there.reshape(-1, 1, 2), matrix).reshape(-1, 1, 2)
    rgb = cv2.perspectiveTransform(rgb, resizing((320, 240), rgb_size)).reshape(-1, 2)
    expected = cv2.perspectiveTransform(there.reshape(-1, 1, 2), resizing((160, 120), thermal_size)).reshape(-1, 2)
    assert np.allclose(known.thermal_points(rgb, rgb_size, thermal_size), expected, atol=1e-5)


def test_what_lies_behind_the_horizon_of_a_homography_is_not_seen():
    matrix = np.array([[1, 0, 0], [0, 1, 0], [0, 0.003, 1.0]])
    seen = homography(matrix).thermal_points(np.array([[160.0, 100.0], [160.0, 400.0]]), (320, 240), (320, 240))
    assert np.isfinite(seen[0]).all()
    assert np.isnan(seen[1]).all()


@pytest.mark.parametrize(
    ("matrix", "text"),
    [
        (np.zeros((3, 3)), "infinity"),
        (np.diag([1, 0, 1.0]), "no inverse"),
        ([[1, 0, 0], [0, 1, 0], [0.01, 0, -1]], "infinity"),
        (np.full((3, 3), np.nan), "not finite"),
        (np.full((3, 3), 1e12), "far too large"),
    ],
)
def test_a_matrix_that_is_no_homography_of_cameras_is_refused(matrix, text):
    with pytest.raises(CalibrationError, match=text):
        homography(matrix)


def test_the_identity_is_what_resizing_gives():
    rng = np.random.default_rng(0)
    thermal = cv2.GaussianBlur(rng.integers(0, 255, (60, 80)).astype(np.uint8), (0, 0), 1.5)
    registered = Registrar(homography(resizing((80, 60), (320, 240)), thermal=(80, 60)))(thermal, 240, 320)
    assert np.abs(registered.thermal.astype(int) - resize_to(thermal, 240, 320)).max() <= 2
    assert registered.coverage.weight is None
    large = cv2.resize(thermal, (640, 480), interpolation=cv2.INTER_CUBIC)
    registered = Registrar(homography(resizing((640, 480), (160, 120)), (160, 120), (640, 480)))(large, 120, 160)
    assert np.abs(registered.thermal.astype(int) - resize_to(large, 120, 160)).max() <= 2


def test_shrinking_does_not_alias():
    stripes = np.tile(np.array([0, 255], np.uint8), (480, 320))
    registered = Registrar(homography(resizing((640, 480), (160, 120)), (160, 120), (640, 480)))(stripes, 120, 160)
    assert registered.thermal.std() < 3


def test_a_spot_lands_where_the_homography_says():
    matrix = np.array([[1.1, 0.03, -20.0], [-0.02, 1.05, 14.0], [0.0001, 0.00005, 1.0]])
    thermal = np.zeros((240, 320), np.uint8)
    cv2.circle(thermal, (200, 90), 5, 255, -1)
    registered = Registrar(homography(matrix))(thermal, 240, 320)
    moments = cv2.moments(registered.thermal)
    found = (moments["m10"] / moments["m00"], moments["m01"] / moments["m00"])
    assert found == pytest.approx(cv2.perspectiveTransform(np.array([[[200.0, 90.0]]]), matrix)[0, 0], abs=0.2)


class Counted:
    """A map that counts how often it is asked."""

    def __init__(self, inner):
        self.inner, self.asked = inner, 0

    def thermal_points(self, *arguments):
        self.asked += 1
        return self.inner.thermal_points(*arguments)


def test_tables_are_made_once_for_a_pair_of_sizes():
    counted = Counted(homography(np.eye(3)))
    registrar = Registrar(counted)
    for _ in range(3):
        registrar(np.zeros((240, 320), np.uint8), 240, 320)
    assert counted.asked == 1
    registrar(np.zeros((120, 160), np.uint8), 240, 320)
    assert counted.asked == 2
    registrar.use(Counted(homography(np.eye(3))))
    registrar(np.zeros((120, 160), np.uint8), 240, 320)
    assert counted.asked == 2
    assert registrar.share == 1


def test_a_map_that_does_not_fit_is_tried_once_and_told():
    counted = Counted(homography(np.eye(3)))
    registrar = Registrar(counted)
    for _ in range(3):
        assert registrar(np.zeros((240, 240), np.uint8), 240, 320).thermal is None
    assert counted.asked == 1
    assert "another part of the image" in registrar.problem
    away = Registrar(homography([[1, 0, 5000], [0, 1, 0], [0, 0, 1]]))
    assert away(np.zeros((240, 320), np.uint8), 240, 320).thermal is None
    assert "covers 0.0%" in away.problem


@pytest.mark.parametrize("unready", ["rgb_only", "unregistered", "stop"])
def test_without_a_calibration_the_policy_decides(unready):
    registrar = Registrar(unready=unready, problem="no CameraInfo yet")
    thermal = np.full((60, 80), 9, np.uint8)
    if unready == "stop":
        with pytest.raises(CalibrationError, match="no CameraInfo yet"):
            registrar(thermal, 240, 320)
        return
    registered = registrar(thermal, 240, 320)
    valid = registered.valid(240, 320)
    if unready == "rgb_only":
        assert registered.thermal is None
        assert not valid.any()
    else:
        assert (registered.thermal == 9).all()
        assert registered.thermal.shape == (240, 320)
        assert valid is None
    assert registrar.problem == "no CameraInfo yet"


def test_the_seam_is_soft_inside_and_exact_outside():
    valid = np.zeros((240, 320), np.uint8)
    valid[:, :200] = 255
    coverage = Coverage.of(valid)
    assert coverage.share == 200 / 320
    joined = coverage.join(np.full((240, 320, 3), 250, np.uint8), np.full((240, 320, 3), 10, np.uint8))
    assert (joined[:, 200:] == 10).all(), "bit for bit the RGB image where thermal does not reach"
    assert (joined[:, :190] == 250).all(), "bit for bit the fused image away from the seam, also at the image's border"
    assert (np.diff(joined[5, 188:202, 0].astype(int)) <= 0).all()
    assert np.abs(np.diff(joined[5, :, 0].astype(int))).max() < 60


class White:
    """A fusion model that answers with white."""

    def fuse(self, rgb, thermal):
        assert rgb.shape[:2] == thermal.shape
        return np.full_like(rgb, 255)


@pytest.mark.parametrize("tint", [0.0, 1.0])
def test_a_result_is_the_rgb_image_where_thermal_does_not_reach(tint):
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 200, (240, 320, 3)).astype(np.uint8)
    thermal = rng.integers(0, 255, (120, 160)).astype(np.uint8)
    registrar = Registrar(homography([[1, 0, 80], [0, 1, 60], [0, 0, 1]], thermal=(160, 120)))
    pipeline = FusionPipeline(White(), ThermalNormaliser(), tint, registrar)
    result = pipeline.process(FramePair(Frame(0, "rgb", rgb), Frame(0, "thermal", thermal)), Wants())
    outside = result.thermal_valid == 0
    assert (~outside).sum() == 160 * 120
    assert (result.fused[outside] == rgb[outside]).all()
    assert (result.fused[100:140, 140:180].max(axis=2) == 255).all()
    lost = FusionPipeline(White(), ThermalNormaliser(), tint, Registrar(problem="x"))
    result = lost.process(FramePair(Frame(0, "rgb", rgb), Frame(0, "thermal", thermal)), Wants())
    assert (result.fused == rgb).all()
    assert not result.thermal_valid.any()


@pytest.mark.parametrize("name", LENSES)
def test_the_tables_hold_every_pixel_though_few_are_asked_for(name):
    plane = PlaneMap(lens(name), lens("plumb_bob"), Extrinsics(HERE.rotation, (0.1, 0.02, 0.0)), 5.0)
    sizes = ((320, 240), (320, 240))
    tables = _points(plane, *sizes)
    assert tables.shape == (240, 320, 2)
    columns, rows = grid(step=7).astype(int).T
    assert np.nanmax(np.abs(tables[rows, columns] - plane.thermal_points(grid(step=7), *sizes))) < 0.02
    assert np.isfinite(tables[:237, :317]).all()
