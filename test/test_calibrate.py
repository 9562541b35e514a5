"""sage-fusion calibrate: known homographies are recovered, and frames that do not tell are refused."""

import cv2
import numpy as np
import pytest
from alignment_data import distances, random_homography, street_pairs, warped

from sage_fusion_ros.cli.main import main
from sage_fusion_ros.errors import CalibrationError
from sage_fusion_ros.evaluation.alignment.coarse import SearchRange
from sage_fusion_ros.evaluation.alignment.estimate import align
from sage_fusion_ros.evaluation.alignment.features import View
from sage_fusion_ros.evaluation.alignment.joint import as_matrix, motions
from sage_fusion_ros.evaluation.alignment.picture import checkerboard
from sage_fusion_ros.sources.calibration_file import read_calibration
from sage_fusion_ros.sources.images import read_rgb
from sage_fusion_ros.sources.layouts import find_pairs


def names(views):
    return [f"pair {i}" for i in range(len(views))]


@pytest.fixture(scope="module")
def street():
    return street_pairs(16)


@pytest.mark.parametrize("seed", range(4))
def test_the_street_warped_by_a_known_homography_is_recovered(street, seed):
    truth = random_homography(seed, 320, 240)
    views = warped(street, truth)
    alignment = align(views, names(views))
    off = distances(alignment.homography, truth, 320, 240)
    assert np.median(off) < 1.0
    assert off.max() < 4.0
    assert alignment.held_out.median_px < 2.0
    assert alignment.held_out.agreeing > 0.8
    assert len(alignment.kept_out) == 4
    assert not set(alignment.kept_out) & set(alignment.used)


def test_cameras_of_other_sizes_and_shapes_and_a_narrower_view(street):
    # The thermal camera sees the middle 70 %, and gives 160x128 pixels.
    truth = np.array([[0.7 * 320 / 160, 0, 46.0], [0, 0.7 * 320 / 160, 25.0], [0, 0, 1]])
    views = [
        View(rgb, cv2.warpPerspective(thermal, np.linalg.inv(truth), (160, 128), flags=cv2.INTER_AREA))
        for rgb, thermal in street
    ]
    alignment = align(views, names(views), SearchRange(max_scale=1.5))
    corners = np.array([[[0.0, 0.0]], [[159.0, 0.0]], [[159.0, 127.0]], [[0.0, 127.0]], [[80.0, 64.0]]])
    found, expected = (cv2.perspectiveTransform(corners, m) for m in (alignment.homography, truth))
    assert np.median(np.hypot(*(found - expected)[:, 0].T)) < 2.0


def test_frames_of_another_moment_noise_and_nothing_are_refused(street):
    shuffled = [View(street[i][0], np.fliplr(street[(i + 7) % len(street)][1]).copy()) for i in range(len(street))]
    rng = np.random.default_rng(0)

    def noise(sigma):
        image = cv2.GaussianBlur(rng.normal(size=(240, 320)), (0, 0), sigma)
        return cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)

    for views in (
        shuffled,
        [View(noise(1), noise(1)) for _ in range(12)],
        [View(noise(6), noise(6)) for _ in range(12)],
    ):
        with pytest.raises(CalibrationError, match="kept-out frames"):
            align(views, names(views))
    flat = np.full((240, 320), 90, np.uint8)
    for views in ([View(rgb, flat) for rgb, _ in street], [View(flat, thermal) for _, thermal in street]):
        with pytest.raises(CalibrationError, match="only 0 of 16 frames show edges in both images, and 4 are needed"):
            align(views, names(views))


def test_single_bad_frames_do_no_harm(street):
    truth = random_homography(9, 320, 240)
    views = warped(street, truth)
    views[2] = View(views[2].rgb, np.full((240, 320), 50, np.uint8))
    views[5] = View(views[5].rgb, np.fliplr(views[9].thermal).copy())
    alignment = align(views, names(views))
    assert alignment.flat == ["pair 2"]
    assert np.median(distances(alignment.homography, truth, 320, 240)) < 1.0


def test_a_motion_is_the_homography_that_it_is_a_small_part_of():
    size = (200, 100)
    amounts = np.array([1.0, -0.5, 0.8, -0.6, 0.3, 0.2, 0.4, -0.3])
    matrix = as_matrix(amounts, size)
    points = np.stack(np.meshgrid(np.linspace(0, 199, 9), np.linspace(0, 99, 7)), -1).reshape(-1, 1, 2)
    moved = (cv2.perspectiveTransform(points, matrix) - points)[:, 0]
    assert np.abs(moved - np.tensordot(amounts, motions(points[:, 0], size), 1)).max() < 0.1


def test_a_checkerboard_shows_both_in_turn():
    board = checkerboard(np.full((80, 100), 10, np.uint8), np.full((80, 100), 10, np.uint8))
    assert board.shape == (80, 100, 3)
    grey = (board[..., 0] == board[..., 2]).mean()
    assert 0.4 < grey < 0.6
    assert (board[0, 0] == board[0, 9]).all()
    assert not (board[0, 0] == board[0, 10]).all()
    assert (board[0, 0] == board[10, 10]).all()


@pytest.fixture
def folder(tmp_path, street):
    root = tmp_path / "pairs"
    views = warped(street, random_homography(3, 320, 240))
    for camera in ("rgb", "thermal"):
        (root / camera).mkdir(parents=True)
    for i, view in enumerate(views):
        cv2.imwrite(str(root / "rgb" / f"{i:02}.png"), view.rgb)
        cv2.imwrite(str(root / "thermal" / f"{i:02}.png"), view.thermal)
    return root


def test_the_command_writes_a_file_and_a_picture(folder, tmp_path, capsys):
    cv2.imwrite(str(folder / "rgb" / "00.png"), np.zeros((100, 100, 3), np.uint8))
    (folder / "thermal" / "01.png").write_bytes(b"no image")
    output = tmp_path / "out" / "cameras.yaml"
    assert main(["calibrate", "--data", str(folder), "--output", str(output)]) == 0
    calibration = read_calibration(output)
    off = distances(np.array(calibration.homography.matrix).reshape(3, 3), random_homography(3, 320, 240), 320, 240)
    assert np.median(off) < 1.0
    assert calibration.report["source"] == "pairs"
    assert calibration.report["kept_out_median_px"] < 2
    assert calibration.report["frames_used"] + calibration.report["frames_kept_out"] == 14
    picture = read_rgb(output.with_suffix(".png"))
    assert picture.shape[:2] == (3 * 240, 2 * 320)
    said = capsys.readouterr()
    assert "skipped pair 0: its images are of other sizes than most" in said.err
    assert "skipped pair 1" in said.err
    assert "3 kept-out frames: median" in said.out
    assert sorted(file.name for file in output.parent.iterdir()) == ["cameras.png", "cameras.yaml"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--max-scale", "9"], "--max-scale is 9.0; expected 1 to 3"),
        (["--max-shift", "nan"], "--max-shift is nan"),
        (["--frames", "2"], "--frames is 2; expected 4 to 1000"),
        (["--picture", "OUTPUT"], "the same file"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_written(folder, tmp_path, capsys, arguments, text):
    output = tmp_path / "cameras.yaml"
    arguments = [str(output) if argument == "OUTPUT" else argument for argument in arguments]
    assert main(["calibrate", "--data", str(folder), "--output", str(output), *arguments]) == 2
    assert text in capsys.readouterr().err
    assert not output.exists()


def test_frames_that_do_not_tell_end_with_code_2_and_write_nothing(folder, tmp_path, capsys):
    for file in (folder / "thermal").iterdir():
        cv2.imwrite(str(file), np.full((240, 320), 80, np.uint8))
    before = sorted(tmp_path.rglob("*"))
    assert main(["calibrate", "--data", str(folder), "--output", str(tmp_path / "cameras.yaml")]) == 2
    assert "frames show edges in both images" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def read_set(folder, limit=24):
    """Luma and thermal of a set of registered pairs, cut to one size."""
    listings = [find_pairs(clip).pairs[::6] for clip in sorted(folder.iterdir()) if (clip / "vi").is_dir()]
    pairs = [pair for listing in listings for pair in listing] or find_pairs(folder).pairs
    images = []
    for pair in pairs:
        rgb, thermal = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in (pair.rgb, pair.thermal))
        images.append((rgb, cv2.resize(thermal, rgb.shape[::-1]) if thermal.shape != rgb.shape else thermal))
    height, width = np.median([rgb.shape for rgb, _ in images], axis=0).astype(int)
    whole = [(rgb, thermal) for rgb, thermal in images if rgb.shape[0] >= height and rgb.shape[1] >= width]
    picked = [whole[i] for i in np.linspace(0, len(whole) - 1, min(limit, len(whole))).astype(int)]
    return [(rgb[:height, :width], thermal[:height, :width]) for rgb, thermal in picked]


@pytest.mark.parametrize(("name", "own_px"), [("roadscene", 2.0), ("msrs", 4.0), ("m3fd", 5.0), ("m3svd_frames", 2.0)])
def test_real_pairs_warped_by_known_homographies_are_recovered(shared_data, name, own_px):
    """Against the warp alone, and against it after what the set itself is off by, found on its pairs as they are.

    Independent halves of MSRS agree that its images are 1 to 6 px apart at the corners, and each pair of M3FD was
    registered by itself; these cannot be nearer to the warp alone than they are to each other.
    """
    pairs = read_set(shared_data / name)
    height, width = pairs[0][0].shape
    as_it_is = warped(pairs, np.eye(3))
    own = align(as_it_is, names(as_it_is)).homography
    alone, after_own, kept_out = [], [], []
    for seed in range(3):
        truth = random_homography(seed, width, height)
        views = warped(pairs, truth)
        alignment = align(views, names(views))
        alone.append(np.median(distances(alignment.homography, truth, width, height)))
        after_own.append(np.median(distances(alignment.homography, own @ truth, width, height)))
        kept_out.append(alignment.held_out.joint_px)
    print(
        f"{name}: {len(pairs)} pairs {width}x{height}, warp alone {alone}, after own {after_own}, kept out {kept_out}"
    )
    assert np.median(after_own) < 2.0
    assert np.median(alone) < own_px
    assert np.median(kept_out) < 2.0
