import pytest
import torch

from mmlib.data.threads import one_thread


@pytest.fixture(autouse=True)
def _three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_inside_there_is_one_thread_and_afterwards_as_many_as_before():
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3


def test_the_threads_come_back_after_an_error_and_after_every_call():
    @one_thread()
    def work(fail: bool) -> int:
        if fail:
            raise KeyError("no")
        return torch.get_num_threads()

    assert [work(False), work(False)] == [1, 1]
    with pytest.raises(KeyError):
        work(True)
    assert torch.get_num_threads() == 3
