from pathlib import Path

import cv2
import numpy as np
import pytest

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.sources.images import read_rgb, read_thermal


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)


def test_rgb_comes_in_the_order_red_green_blue(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((4, 6, 3), (10, 20, 200), np.uint8))
    image = read_rgb(path)
    assert image.shape == (4, 6, 3)
    assert image[0, 0].tolist() == [200, 20, 10]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_thermal_keeps_its_depth(tmp_path: Path, dtype: type) -> None:
    expected = np.arange(24, dtype=dtype).reshape(4, 6) * dtype(10)
    cv2.imwrite(str(tmp_path / "a.png"), expected)
    image = read_thermal(tmp_path / "a.png")
    assert image.dtype == dtype
    np.testing.assert_array_equal(image, expected)


def test_float_thermal_from_tiff(tmp_path: Path) -> None:
    expected = np.linspace(273, 320, 24, dtype=np.float32).reshape(4, 6)
    cv2.imwrite(str(tmp_path / "a.tiff"), expected)
    np.testing.assert_array_equal(read_thermal(tmp_path / "a.tiff"), expected)


def test_grey_saved_as_colour_becomes_one_channel(tmp_path: Path, photo: np.ndarray) -> None:
    grey = photo[..., 0]
    cv2.imwrite(str(tmp_path / "a.png"), cv2.merge((grey, grey, grey)))
    np.testing.assert_array_equal(read_thermal(tmp_path / "a.png"), grey)
    cv2.imwrite(str(tmp_path / "b.png"), cv2.merge((grey, grey, grey, np.full_like(grey, 255))))
    np.testing.assert_array_equal(read_thermal(tmp_path / "b.png"), grey)


def test_false_colour_is_refused(tmp_path: Path, photo: np.ndarray) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), cv2.applyColorMap(photo[..., 0], cv2.COLORMAP_INFERNO))
    with pytest.raises(SourceError, match="colour"):
        read_thermal(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("read", [read_rgb, read_thermal])
def test_truncated_files_are_errors_that_name_the_file(
    tmp_path: Path, photo: np.ndarray, suffix: str, share: float, read
) -> None:
    path = tmp_path / f"cut{suffix}"
    cv2.imwrite(str(path), photo)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SourceError, match=f"cut{suffix}"):
        read(path)


def test_a_changed_byte_in_a_png_is_an_error(tmp_path: Path, photo: np.ndarray) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), photo)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(SourceError, match="checksum"):
        read_rgb(path)


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="can't be read"):
        read_rgb(tmp_path / "none.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(SourceError, match="empty"):
        read_rgb(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(SourceError, match="not an image"):
        read_thermal(tmp_path / "text.png")
