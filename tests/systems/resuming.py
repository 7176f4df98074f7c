"""What several tests of the command line ask: that a training which was cut ends like one that was not."""

from safetensors.torch import load_file

from mmlib.__main__ import main
from mmlib.training.trainer import Trainer


def cut_and_resume(system, data, folder, monkeypatch, capsys):
    """Train three epochs in one go and with a cut before the last; hold both to the same bits.

    Returns the folder of the run that was cut.
    """
    words = ["train", "--system", system, "--data", data, "--epochs", "3", "--quiet"]
    assert main([*words, "--out", str(folder / "whole")]) == 0
    assert "3 epochs, in the last: train_loss" in capsys.readouterr().out
    honest = Trainer.epoch

    def interrupted(self, index, bar):
        if index == 2:
            raise KeyboardInterrupt
        return honest(self, index, bar)

    monkeypatch.setattr(Trainer, "epoch", interrupted)
    assert main([*words, "--out", str(folder / "cut")]) == 130
    monkeypatch.setattr(Trainer, "epoch", honest)
    assert main([*words, "--out", str(folder / "cut"), "--resume"]) == 0
    whole, cut = (load_file(folder / out / "last.safetensors") for out in ("whole", "cut"))
    assert whole.keys() == cut.keys() and all(whole[key].equal(cut[key]) for key in whole)
    return folder / "cut"
