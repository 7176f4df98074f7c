"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start files with slow tests first: the short ones fill up what is left to two workers."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The CPU always, and a GPU where there is one."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(request.param)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings' features, which is never part of the repository."""
    folder = Path(os.environ.get("MMLIB_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real feature sets at {folder}; set MMLIB_SHARED_DATA to use some")
    return folder


@pytest.fixture(scope="session")
def shared_facts() -> Path:
    """The folder of what public checkpoints expect of a model, which is not in the repository."""
    folder = Path(os.environ.get("MMLIB_SHARED_FACTS", ROOT.parent / "shared" / "facts"))
    if not folder.is_dir():
        pytest.skip(f"no facts about public checkpoints at {folder}; set MMLIB_SHARED_FACTS")
    return folder
