"""Faces: which square is cut out, what a frame without a face does, and which detectors there are."""

import pickle
import sys

import numpy as np
import pytest
import torch

from mmlib.data import faces
from mmlib.data.extras import NotInstalled
from mmlib.data.faces import FaceDetector, NoFace, centre_squares, crop_faces
from mmlib.data.media import read_frames

HEIGHT, WIDTH = 60, 100


def frame_with(left: int, top: int, side: int = 20) -> torch.Tensor:
    """A dark frame (3, H, W) whose face is a square: red above, blue below."""
    frame = torch.full((3, HEIGHT, WIDTH), 10, dtype=torch.uint8)
    frame[0, top : top + side // 2, left : left + side] = 250
    frame[2, top + side // 2 : top + side, left : left + side] = 250
    return frame


def find_bright(frame: np.ndarray) -> tuple[int, int, int, int] | None:
    """Find such a face: the box around what is bright."""
    assert frame.shape == (HEIGHT, WIDTH, 3) and frame.dtype == np.uint8
    rows, columns = np.nonzero(frame.max(2) > 100)
    if not len(rows):
        return None
    return columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1


def bright(picture: torch.Tensor) -> tuple[float, float, float]:
    """Tell where the face is in a square picture: its middle (x, y) and its share of the side."""
    rows, columns = (picture.max(0).values > 100).nonzero(as_tuple=True)
    side = picture.shape[-1]
    middle = [float(one.min() + one.max() + 1) / 2 / side for one in (columns, rows)]
    return middle[0], middle[1], float(rows.max() - rows.min() + 1) / side


def test_the_face_stands_in_the_middle_with_its_margin():
    frames = torch.stack([frame_with(15, 25), frame_with(60, 20)])
    cut = crop_faces(frames, find_bright, size=39, margin=0.5)
    assert cut.shape == (2, 3, 39, 39) and cut.dtype == torch.uint8
    for picture in cut:
        x, y, share = bright(picture)
        assert (x, y) == pytest.approx((0.5, 0.5), abs=0.03)
        assert share == pytest.approx(1 / 1.5, abs=0.06)
        assert picture[0, 13, 19] > 200 > picture[2, 13, 19], "red stays above"


def test_a_wide_box_gives_a_square_that_holds_it():
    frame = torch.arange(WIDTH, dtype=torch.uint8).expand(3, HEIGHT, WIDTH)[None]
    cut = crop_faces(frame, lambda _: (30, 20, 40, 10), size=40, margin=0.0)
    assert cut[0, 0, 0].tolist() == list(range(30, 70)), "nothing is stretched"


@pytest.mark.parametrize(("left", "top"), [(0, 0), (80, 40), (80, 0), (0, 40)])
def test_a_face_at_the_edge_moves_the_square_inside(left, top):
    cut = crop_faces(frame_with(left, top)[None], find_bright, size=30, margin=0.5)
    assert bright(cut[0])[2] == pytest.approx(1 / 1.5, abs=0.06), "as large as in the middle"


def test_a_face_larger_than_the_frame_gives_the_largest_square():
    frame = torch.randint(0, 255, (1, 3, HEIGHT, WIDTH), dtype=torch.uint8)
    cut = crop_faces(frame, lambda _: (-5, -5, 110, 80), size=HEIGHT, margin=0.3)
    assert torch.equal(cut, frame[..., 20 : 20 + HEIGHT])


def test_a_frame_without_a_face_takes_the_box_of_the_nearest_that_has_one():
    boxes = [None, (0, 0, 20, 20), None, None, (70, 30, 20, 20), None]
    ramp = torch.arange(WIDTH, dtype=torch.uint8).expand(3, HEIGHT, WIDTH)
    left_out = iter(boxes)
    cut = crop_faces(ramp.expand(6, -1, -1, -1), lambda _: next(left_out), size=20, margin=0.0)
    assert cut[:, 0, 0, 0].tolist() == [0, 0, 0, 70, 70, 70]


def test_of_two_as_near_the_earlier_gives_its_box():
    left_out = iter([(0, 0, 20, 20), None, (70, 30, 20, 20)])
    ramp = torch.arange(WIDTH, dtype=torch.uint8).expand(3, 3, HEIGHT, WIDTH)
    cut = crop_faces(ramp, lambda _: next(left_out), size=20, margin=0.0)
    assert cut[:, 0, 0, 0].tolist() == [0, 0, 70]


def test_a_clip_without_any_face_is_refused():
    dark = torch.zeros(4, 3, HEIGHT, WIDTH, dtype=torch.uint8)
    with pytest.raises(NoFace, match="no face in any of its 4 frames"):
        crop_faces(dark, find_bright)


def test_without_faces_the_middle_square_is_taken():
    ramp = torch.arange(WIDTH, dtype=torch.uint8).expand(2, 3, HEIGHT, WIDTH)
    cut = centre_squares(ramp, size=HEIGHT)
    assert cut[1, 2, 7].tolist() == list(range(20, 80))
    tall = centre_squares(ramp.transpose(2, 3), size=HEIGHT)
    assert tall[1, 2, :, 7].tolist() == list(range(20, 80))


def test_smaller_pictures_are_averages_not_samples():
    stripes = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    stripes[..., ::2] = 200
    small = centre_squares(stripes, size=16)[..., 2:-2]
    assert (small.float() - 100).abs().max() < 12


class Cascade:
    """Stands in for OpenCV's: sees what is bright, and says how it was asked."""

    asked = None
    boxes = None

    def __init__(self, file):
        self.file = file

    def empty(self):
        return "empty" in self.file

    def detectMultiScale(self, grey, **settings):
        assert grey.ndim == 2 and grey.dtype == np.uint8
        self.asked.append((grey.shape, settings))
        return () if self.boxes is None else np.array(self.boxes, dtype=np.int32)


@pytest.fixture
def cascade(monkeypatch, tmp_path):
    """An OpenCV that brings a cascade, whichever version is there."""
    cv2 = pytest.importorskip("cv2")
    (tmp_path / "haarcascade_frontalface_default.xml").write_text("<xml/>")
    monkeypatch.setattr(cv2, "CascadeClassifier", Cascade, raising=False)
    monkeypatch.setattr(cv2.data, "haarcascades", str(tmp_path) + "/", raising=False)
    monkeypatch.setattr(Cascade, "asked", [])
    faces._load.cache_clear()
    yield Cascade
    faces._load.cache_clear()


def test_the_largest_box_counts_in_the_frames_own_pixels(cascade, monkeypatch):
    monkeypatch.setattr(cascade, "boxes", [[5, 6, 70, 70], [100, 50, 90, 90], [9, 9, 60, 60]])
    frame = np.zeros((720, 1280, 3), dtype=np.uint8)
    assert FaceDetector()(frame) == (300, 150, 270, 270)
    (shape, settings) = cascade.asked[0]
    assert shape == (240, 427), "large frames are made smaller to be quick"
    assert settings["minSize"] == (40, 40)
    assert FaceDetector()(frame[:240, :320]) == (100, 50, 90, 90), "small ones are not enlarged"


def test_no_box_is_no_face(cascade, monkeypatch):
    monkeypatch.setattr(cascade, "boxes", None)
    assert FaceDetector()(np.zeros((90, 120, 3), dtype=np.uint8)) is None


def test_a_detector_travels_to_other_processes(cascade):
    detector = FaceDetector()
    again = pickle.loads(pickle.dumps(detector))
    assert again.identity == detector.identity and "haarcascade" in again.identity


def test_a_version_without_a_detector_is_named_with_what_helps(monkeypatch):
    cv2 = pytest.importorskip("cv2")
    monkeypatch.delattr(cv2, "CascadeClassifier", raising=False)
    faces._load.cache_clear()
    says = rf"OpenCV {cv2.__version__} brings no face detector.*headless<5'.*YuNet.*without faces"
    with pytest.raises(NotInstalled, match=says):
        FaceDetector()


def test_without_the_package_one_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    faces._load.cache_clear()
    with pytest.raises(NotInstalled, match=r"'cv2'; install it with the extra 'media'"):
        FaceDetector()


def test_a_file_that_is_no_model_is_refused(cascade, tmp_path):
    with pytest.raises(ValueError, match=r"none.xml does not exist"):
        FaceDetector(tmp_path / "none.xml")
    for name in ("empty.xml", "junk.onnx"):
        (tmp_path / name).write_bytes(b"junk")
        with pytest.raises(ValueError, match=rf"{name} is no .*OpenCV") as refused:
            FaceDetector(tmp_path / name)
        assert "\n" not in str(refused.value)


@pytest.mark.data
def test_opencvs_own_detector_finds_the_faces_of_real_clips(shared_data):
    videos = sorted((shared_data / "cremad").glob("*.flv"))
    if not videos:
        pytest.skip(f"no recordings in {shared_data}")
    faces._load.cache_clear()
    try:
        detector = FaceDetector()
    except NotInstalled as error:
        pytest.skip(str(error))
    for path in videos:
        frames = read_frames(path, 15)
        boxes = [detector(frame.permute(1, 2, 0).contiguous().numpy()) for frame in frames]
        found = np.array([box for box in boxes if box is not None])
        assert len(found) >= 12, path
        # Who speaks sits still in the middle, and the head is a third to two thirds of the height.
        middles = found[:, :2] + found[:, 2:] / 2
        assert (np.abs(middles - np.median(middles, axis=0)) < 40).all(), path
        assert (found[:, 2] > 100).all() and (found[:, 2] < 260).all(), path
        assert crop_faces(frames, detector, size=112).shape == (15, 3, 112, 112)
