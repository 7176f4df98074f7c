"""Real recordings' features, for those who have them: the course ships none and needs none."""

from __future__ import annotations

import os
from pathlib import Path

from mmlib.data.feature_set import FeatureError, FeatureSet
from mmlib.data.features import load_features

#: The environment variable that names the folder of your own feature files.
VARIABLE = "MMLIB_DATA"


def real_features(name: str) -> FeatureSet | None:
    """Load the feature file of that name from the folder in `MMLIB_DATA`, if there is one.

    The file is `ravdess.npz` or `ravdess/features.npz` for `name="ravdess"`; its format is that of
    `load_features`. Nothing is downloaded. Where the variable is not set the answer is None, so that
    a lesson can say how to get the data and go on.

    Raises:
        FeatureError: the variable is set, but its folder has no such file, or the file is bad.
    """
    setting = os.environ.get(VARIABLE, "")
    if not setting:
        return None
    folder = Path(setting).expanduser()
    places = (folder / f"{name}.npz", folder / name / "features.npz")
    for place in places:
        if place.is_file():
            return load_features(place)
    raise FeatureError(
        f"{VARIABLE} is {setting}, but there is neither {places[0]} nor {places[1]}; put the feature "
        f"file there, or unset {VARIABLE} to go on without real recordings."
    )
