"""Fields of a configuration, set by words: each becomes what it may be, or is refused by name."""

from dataclasses import fields

import pytest

from mmlib.systems import EXPERTS, SYSTEMS
from mmlib.systems.avt_ca import AVTCAConfig
from mmlib.systems.embracenet import CrossModalEmbraceNetConfig
from mmlib.systems.jmt import JMTConfig
from mmlib.systems.switches import with_switches


def test_words_become_what_the_fields_are():
    config = with_switches(
        "avt_ca",
        AVTCAConfig(),
        {"pool": "mean", "dropout": ".25", "num_heads": "2", "late": "none", "intermediate": "no"},
    )
    assert (config.pool, config.dropout, config.num_heads) == ("mean", 0.25, 2)
    assert config.late is None and config.intermediate is False
    assert type(config.num_heads) is int and config.merge == AVTCAConfig().merge
    assert with_switches("jmt", JMTConfig(), {"positions": "sinusoidal"}).positions == "sinusoidal"
    assert with_switches("jmt", JMTConfig(), {"patience": "7"}).patience == 7


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"abset": "skip"}, "no abset to set; it has absent, "),
        ({"widths": "3"}, "widths of embracenet comes from the data"),
        ({"absent": "jump"}, "absent is 'jump', expected skip or multiply"),
        ({"num_heads": "2.5"}, "num_heads is '2.5', expected a whole number"),
        ({"dropout": "much"}, "dropout is 'much', expected a number"),
        ({"dropout": "nan"}, "dropout is 'nan', expected a number"),
        ({"learning_rate": "inf"}, "learning_rate is 'inf', expected a number"),
        ({"dropout": "none"}, "dropout is 'none', expected a number"),
        ({"ffn_dim": "wide"}, "ffn_dim is 'wide', expected a whole number or none"),
        ({"num_heads": "0"}, "num_heads is 0, expected at least 1"),
    ],
)
def test_what_a_field_cannot_be_is_refused(words, said):
    with pytest.raises(ValueError, match=said):
        with_switches("embracenet", CrossModalEmbraceNetConfig(), words)


def test_a_switch_takes_no_other_word():
    with pytest.raises(ValueError, match="joint is 'perhaps', expected true or false"):
        with_switches("jmt", JMTConfig(), {"joint": "perhaps"})


@pytest.mark.parametrize("name", [*SYSTEMS, *EXPERTS])
def test_every_system_tells_what_can_be_set_and_nothing_that_the_data_decide(name):
    config = {**SYSTEMS, **EXPERTS}[name].config
    with pytest.raises(ValueError, match="it has ") as refused:
        with_switches(name, config(**_needed(config)), {"no_such_field": "1"})
    told = set(str(refused.value).partition("it has ")[2].rstrip(".").split(", "))
    assert told < {field.name for field in fields(config)}
    assert {"epochs", "learning_rate"} <= told
    assert not told & {"streams", "widths", "num_outputs", "num_classes", "task", "audio_dim"}


def _needed(config):
    """Fields of the baselines' that have no value of their own."""
    own = {"streams": ("audio",), "widths": (3,), "lengths": (5,), "num_outputs": 2}
    return own if config.__name__ in ("BaselineConfig", "MajorityConfig") else {}
