"""Writes small folders, videos and bags whose images carry their own index."""

from pathlib import Path

import cv2
import numpy as np


def rgb_image(index: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """uint8 HxWx3 RGB, red by index."""
    image = np.full((size[1], size[0], 3), 40, np.uint8)
    image[..., 0] = index * 8 % 256
    return image


def thermal_image(index: int, dtype: type = np.uint8, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """HxW, level by index."""
    return np.full((size[1], size[0]), index * (8 if dtype == np.uint8 else 1000), dtype)


def write_pair(root: Path, name: str, rgb: str = "rgb", thermal: str = "thermal", index: int = 1) -> None:
    """Writes one PNG each into two sub-folders."""
    for folder, image in ((rgb, rgb_image(index)[..., ::-1]), (thermal, thermal_image(index))):
        path = root / folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), image)


def write_video(path: Path, frames: int, rate: float = 30.0, colour: bool = False) -> Path:
    """Writes frames that carry their index as eight bars, bright for 1; in colour, red is bright everywhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate, (64, 48))
    assert writer.isOpened()
    for index in range(frames):
        bars = np.repeat([40 + 160 * (index >> bit & 1) for bit in range(8)], 8).astype(np.uint8)
        frame = np.repeat(np.broadcast_to(bars, (48, 64))[..., None], 3, axis=2)
        if colour:
            frame[..., 2] = 200
        writer.write(frame)
    writer.release()
    return path


def shown_index(frame: np.ndarray) -> int:
    """The index that a frame of `write_video` carries; HxW."""
    return sum(1 << bit for bit in range(8) if frame[:, bit * 8 : bit * 8 + 8].mean() > 120)


def write_bag(
    path: Path,
    storage: str,
    rgb_stamps: list[int],
    thermal_stamps: list[int],
    compressed: bool = False,
    topics: tuple[str, str] = ("/camera/image_raw", "/flir/image_raw"),
) -> Path:
    """Writes a rosbag2 with RGB images and 16-bit thermal ones; messages are recorded 5 ms after their stamps."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    types = {name: store.types[name] for name in store.types}
    raw, packed = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"

    def message(image: np.ndarray, stamp: int) -> tuple[str, object]:
        time = types["builtin_interfaces/msg/Time"](stamp // 10**9, stamp % 10**9)
        header = types["std_msgs/msg/Header"](time, "camera")
        if compressed and image.ndim == 3:
            data = np.frombuffer(cv2.imencode(".png", image[..., ::-1])[1].tobytes(), np.uint8)
            return packed, types[packed](header, "rgb8; png compressed bgr8", data)
        encoding = "rgb8" if image.ndim == 3 else "mono16"
        data = np.frombuffer(np.ascontiguousarray(image).tobytes(), np.uint8)
        return raw, types[raw](header, *image.shape[:2], encoding, 0, data.size // image.shape[0], data)

    events = [(stamp, 0, rgb_image(index)) for index, stamp in enumerate(rgb_stamps)]
    events += [(stamp, 1, thermal_image(index, np.uint16)) for index, stamp in enumerate(thermal_stamps)]
    with Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()]) as writer:
        names = (topics[0] + "/compressed" if compressed else topics[0], topics[1])
        kinds = (packed if compressed else raw, raw)
        tracks = [writer.add_connection(name, kind, typestore=store) for name, kind in zip(names, kinds, strict=True)]
        for stamp, camera, image in sorted(events, key=lambda event: event[0]):
            kind, content = message(image, stamp)
            writer.write(tracks[camera], (stamp or 10**18) + 5_000_000, store.serialize_cdr(content, kind))
    return path
