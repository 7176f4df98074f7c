"""Files of weights that their authors publish, by name: fetched once, then kept."""

from __future__ import annotations

from pathlib import Path

import torch

from mmlib.backbones.loading import PretrainedError

_FACENET = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9"
#: Where the files are.
PUBLISHED = {
    "vggface2": f"{_FACENET}/20180402-114759-vggface2.pt",
    "casia-webface": f"{_FACENET}/20180408-102900-casia-webface.pt",
    "ljspeech": (
        "https://download.pytorch.org/torchaudio/models/wavernn_10k_epochs_8bits_ljspeech.pth"
    ),
}


def weights_file(name: str) -> Path:
    """Find a file of weights: that of a known name, fetched where it is not here, or a path.

    What was fetched is kept where `torch.hub` keeps its files.

    Raises:
        PretrainedError: it cannot be fetched.
    """
    if name not in PUBLISHED:
        return Path(name).expanduser()
    url = PUBLISHED[name]
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=False)
    except (OSError, RuntimeError) as error:
        raise PretrainedError(
            f"the weights '{name}' cannot be fetched from {url} ({error}); fetch them where there "
            "is a network, and name the file in their place."
        ) from None
    return path
