"""Read which split each video of a data set is in, where its authors say so."""

from __future__ import annotations

import ast
import csv
import json
import re
from pathlib import Path

from mmlib.data.feature_set import SPLITS, FeatureError, listed


def read_folds(path: str | Path) -> dict[str, str]:
    """Read which split each video is in.

    A table (.csv) with columns `video` and `split`; a JSON object of lists of videos, `train`,
    `valid` and `test`; or the SDK's own cmu_mosei_std_folds.py, whose three lists are read and
    nothing in it is run.

    Raises:
        FeatureError: it cannot be read, names another split, or a video in two of them.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8-sig")
        if path.suffix == ".csv":
            pairs = [(row["video"], row["split"]) for row in csv.DictReader(text.splitlines())]
        else:
            lists = _lists_in_python(text) if path.suffix == ".py" else json.loads(text)
            pairs = [(video, split) for split, videos in lists.items() for video in videos]
        pairs = [(video.strip(), split.strip()) for video, split in pairs]
    except OSError as error:
        raise FeatureError(f"{path} cannot be read ({error.strerror or error}).") from None
    except (AttributeError, KeyError, SyntaxError, TypeError, ValueError):
        raise FeatureError(
            f"{path} is no list of folds, expected a .csv with columns video and split, a .json of "
            "lists train, valid and test, or the SDK's cmu_mosei_std_folds.py."
        ) from None
    folds: dict[str, str] = {}
    for video, split in pairs:
        if split not in SPLITS:
            raise FeatureError(f"{path} puts '{video}' into '{split}', expected {listed(SPLITS)}.")
        if folds.setdefault(video, split) != split:
            raise FeatureError(f"{path} puts '{video}' into {folds[video]} and into {split}.")
    if not folds:
        raise FeatureError(f"{path} names no video.")
    return folds


def _lists_in_python(text: str) -> dict[str, list[str]]:
    """Read the lists `standard_train_fold`, ... from Python source without running it."""
    lists = {}
    for line in ast.parse(text).body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            name = re.fullmatch("standard_(train|valid|test)_fold", line.targets[0].id)
            if name:
                lists[name[1]] = list(ast.literal_eval(line.value))
    return lists
