"""Load what others trained: from a folder or the Hugging Face hub, wholly or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import nn

from mmlib.data.extras import load_extra


class PretrainedError(ValueError):
    """A model that cannot be loaded, or an item that it cannot encode, in one sentence."""


def transformers() -> Any:
    """The package, without the hints that its import prints.

    Raises:
        NotInstalled: the extra `pretrained` is missing.
    """
    return load_extra(
        "transformers", extra="pretrained", purpose="an encoder of text, sound or image"
    )


def load_model(
    kind: Any,
    name: str,
    what: str,
    *,
    needed: tuple[str, ...] = ("",),
    ignore: tuple[str, ...] = (),
    **options: Any,
) -> Any:
    """Load a model for use, in float32.

    Raises:
        PretrainedError: there is none, or some of its weights are not in the file.
    """
    model, found = load_part(kind.from_pretrained, name, what, output_loading_info=True, **options)
    missing = sorted(
        key
        for key in found["missing_keys"]
        if key.startswith(needed) and not any(word in key for word in ignore)
    )
    if missing:  # they would be random numbers, and so would be every feature
        raise PretrainedError(
            f"'{name}' is no {what}: {len(missing)} of the weights are not in it, such as "
            f"{missing[0]}."
        )
    return model.float().eval().requires_grad_(False)


def load_part(load: Callable[..., Any], name: str, what: str, **options: Any) -> Any:
    """Load from a folder or the hub.

    Raises:
        PretrainedError: whatever goes wrong, in one sentence.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir() and (folder.exists() or name[:1] in "./~" or name.count("/") > 1):
        raise PretrainedError(f"{name} is not a folder, expected one with a {what}, or a hub name.")
    try:
        with _quietly():
            return load(str(folder) if folder.is_dir() else name, **options)
    except Exception as error:  # noqa: BLE001 (transformers raises kinds of many packages)
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".:")
        if folder.is_dir():
            raise PretrainedError(f"the folder {name} holds no {what} ({reason}).") from None
        raise PretrainedError(
            f"the {what} '{name}' is not a folder here and cannot be fetched from the Hugging Face "
            f"hub ({reason}); fetch it once where there is a network, or give a saved model's folder."
        ) from None


def identity(model: nn.Module, *settings: object) -> str:
    """Digest weights and settings, so that features can say what made them."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    return digest.hexdigest()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep transformers from reporting what is left out on purpose."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
