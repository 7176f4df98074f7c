"""What systems cost: operations counted by hand, memory by hand, and the command around them."""

import csv
import json

import pytest
import torch
from torch import nn

from mmlib.__main__ import main
from mmlib.benchmark import Case, cases, measure
from mmlib.benchmark.living import foresee
from mmlib.benchmark.measuring import peak_bytes
from mmlib.benchmark.work import operations, record, replay
from mmlib.plots.cost import costs

B, T, D, E = 3, 5, 7, 11


def test_operations_of_a_linear_layer_are_two_a_multiply_add():
    layer, x = nn.Linear(D, E), torch.randn(B * T, D)
    assert operations(lambda: layer(x)) == 2 * B * T * D * E


def test_a_backward_pass_counts_both_gradients():
    layer, x = nn.Linear(D, E), torch.randn(B * T, D, requires_grad=True)
    assert operations(lambda: layer(x).sum().backward()) == 3 * 2 * B * T * D * E


def test_recurrent_layers_are_counted():
    lstm, x = nn.LSTM(D, E, batch_first=True), torch.randn(B, T, D)
    with torch.no_grad():
        counted = operations(lambda: lstm(x))
    assert counted == 2 * B * T * 4 * E * (D + E)
    assert operations(lambda: lstm(x)[0].sum().backward()) == 3 * counted


def test_grouped_convolutions_cost_no_more_backward_than_two_forward():
    conv, x = nn.Conv2d(6, 12, 3, groups=6), torch.randn(2, 6, 5, 7, requires_grad=True)
    with torch.no_grad():
        counted = operations(lambda: conv(x))
    assert counted == 2 * (2 * 12 * 3 * 5) * 9
    assert operations(lambda: conv(x).sum().backward()) == 3 * counted
    assert operations(lambda: conv(x.detach()).sum().backward()) == 2 * counted


def test_fused_attention_is_counted_and_is_a_product():
    q, k = torch.randn(B, 2, T, D), torch.randn(B, 2, E, D, requires_grad=True)
    ask = nn.functional.scaled_dot_product_attention
    forward = 2 * (2 * B * 2 * T * E * D)
    assert operations(lambda: ask(q, k, k)) == forward
    q.requires_grad_()
    step = record(lambda: ask(q, k, k).sum().backward())
    assert operations(lambda: ask(q, k, k).sum().backward()) == forward * 7 // 2
    assert sum(step.products.values()) == 2, "forward and backward, one kernel each"


def test_operations_and_parameters_of_jmt_are_those_counted_by_hand():
    batch, steps, width = 2, 8, 512
    model, inputs = Case("jmt", "paper", batch).build("cpu")
    weights = 2 * width**2  # two streams side by side become the joint one
    weights += 3 * (4 + 2) * width**2  # three encoders: four projections, two dense layers
    weights += 6 * 4 * width**2  # six cross-attentions
    weights += 6 * width * 1024 + 1024 * 2 * 128 + 2 * 128  # fuse, then a head for each target
    attention = (3 + 6) * 2 * batch * steps**2 * width  # scores and means, of encoders and pairs
    with torch.no_grad():
        counted = operations(lambda: model(**inputs))
    assert counted == 2 * (batch * steps * weights + attention)
    offsets = width * (1 + 3 * (6 + 4) + 6 * 4) + 1024 + 2 * 128 + 2
    assert sum(p.numel() for p in model.parameters()) == weights + offsets


def test_bytes_that_nothing_moves_are_not_counted():
    x = torch.randn(B, D)
    assert record(lambda: torch.ops.aten._unsafe_view(x, [D, B])).other_bytes == 0
    assert record(lambda: torch.empty(B, D)).other_bytes == 0
    assert record(lambda: x.zero_()).other_bytes == 4 * B * D, "written, not read"
    assert record(lambda: x.copy_(torch.ones(1).expand(B, D))).other_bytes == 4 * (1 + 1 + B * D)
    table = torch.randn(1000, D)
    picked = record(lambda: table.index_select(0, torch.tensor([3, 5]))).other_bytes
    assert picked < 200, "of a table only the rows that are asked for"


def test_casts_of_autocast_are_among_the_bytes():
    layer, x = nn.Linear(D, E), torch.randn(B, D)

    def forward():
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            layer(x)

    assert record(forward).other_bytes == (4 + 2) * (B * D + D * E + E)


def test_a_replay_reads_each_weight_where_it_lies():
    first, second = nn.Linear(D, D), nn.Linear(D, D)
    x = torch.randn(B, D)
    work = record(lambda: second(first(x)), [*first.parameters(), *second.parameters()])
    assert len(work.products) == 2, "not one product twice"
    held = {kept.data_ptr() for kept in work.kept.values()}
    assert {first.weight.data_ptr(), second.weight.data_ptr()} <= held
    before = first.weight.clone()
    replay(work)()
    assert torch.equal(before, first.weight)


def test_the_memory_of_a_step_is_foreseen_and_nothing_is_changed():
    model, inputs = Case("embracenet", "small", 3).build("cpu")

    def step(called=model):
        sum(x.pow(2).mean() for x in called(**inputs)).backward()

    foreseen = foresee(model, step)
    assert all(p.grad is None for p in model.parameters())
    assert foreseen == peak_bytes(step, "cpu")


def test_a_step_that_would_fill_the_memory_is_refused_before_it_runs(monkeypatch):
    monkeypatch.setattr("mmlib.benchmark.measuring._KEPT_FREE", 1e-9)
    with pytest.raises(MemoryError, match="a step needs .* GB .* take a smaller batch"):
        measure(Case("jmt", "small"), repeats=1)


def test_the_products_are_told_from_the_rest():
    layer, x = nn.Linear(D, E), torch.randn(B, D)
    with torch.no_grad():
        work = record(lambda: layer(x).relu())
    assert sum(work.products.values()) == 1
    assert work.other_bytes == 2 * 4 * B * E, "the ReLU reads and writes (B, E) floats"


def test_a_replay_asks_for_the_same_products_and_nothing_else():
    model = nn.Sequential(nn.Linear(D, E), nn.ReLU(), nn.Conv1d(B, 2, 3))
    x = torch.randn(2, B, D)

    def step():
        model(x).pow(2).sum().backward()

    work = record(step)
    again = record(replay(work))
    assert again.products == work.products and sum(work.products.values()) == 4
    assert again.other_bytes == 0


def test_a_replay_takes_tensors_whose_memory_serves_twice():
    wide = torch.randn(1, D).expand(B, D)
    work = record(lambda: wide @ torch.randn(D, E))
    replay(work)()
    assert sum(work.products.values()) == 1


def test_the_peak_is_that_of_what_lives_at_once():
    def one_after_the_other():
        a = torch.zeros(250_000)
        b = a + 1
        del a
        c = b * 2
        del b
        return c.sum()

    assert peak_bytes(one_after_the_other, "cpu") == pytest.approx(2e6, rel=0.01)


def test_a_peak_between_what_came_and_went_is_found_to_the_byte():
    def step():
        for size in (1000, 3000, 500):  # each is gone before the next
            torch.zeros(size)
        kept = torch.zeros(2000)
        beside = torch.zeros(2100)  # the peak
        del beside
        for _ in range(9):
            torch.zeros(2000)
        return kept

    assert peak_bytes(step, "cpu") == 4 * (2000 + 2100)


def test_what_backward_keeps_is_in_the_peak_and_the_parameters_are_not():
    weight = torch.zeros(250_000, requires_grad=True)

    def step():
        weight.grad = None
        weight.exp().exp().exp().sum().backward()

    assert 3e6 <= peak_bytes(step, "cpu") <= 6e6
    assert peak_bytes(lambda: weight.detach().view(500, 500), "cpu") == 0


@pytest.mark.parametrize("system", ["ca_mmaaet", "avt_ca", "jmt", "embracenet", "concat", "late"])
def test_every_system_is_measured(system, device):
    cost = measure(Case(system, "small", batch=2), device=str(device), repeats=1)
    assert cost.parameters > 10_000 and cost.peak_bytes > 10_000
    assert cost.step_operations > 2 * cost.operations > 0
    assert min(cost.forward_seconds, cost.step_seconds, cost.product_seconds) > 0
    assert 0 < cost.share == cost.limit_seconds / cost.step_seconds


def test_twice_the_batch_is_twice_the_operations():
    found = [measure(Case("jmt", "small", batch=n), repeats=1) for n in (2, 4)]
    assert found[1].operations == 2 * found[0].operations
    assert found[1].parameters == found[0].parameters


def test_the_length_is_that_of_every_stream():
    assert Case("embracenet", "paper", 1, 2.0).shapes == {
        "text": (72, 768),
        "audio": (100, 512),
        "vision": (100, 512),
    }
    assert Case("avt_ca_it4", "paper").shapes["vision"] == (15, 3, 224, 224)
    assert Case("avt_ca", "small").shapes["vision"][1:] == (3, 48, 48)


def test_cases_vary_one_thing_at_a_time():
    found = [(c.batch, c.length) for c in cases(["jmt"], batches=(2, 5), lengths=(1, 3))]
    assert found == [(2, 1.0), (5, 1.0), (2, 3)]


@pytest.mark.parametrize(("keyword", "value"), [("precision", "fp8"), ("repeats", 0)])
def test_what_cannot_be_measured_is_refused(keyword, value):
    with pytest.raises(ValueError, match=f"{keyword} is"):
        measure(Case("jmt", "small"), **{keyword: value})


def test_the_command_prints_a_line_a_case_and_writes_every_number(tmp_path, capsys):
    path = tmp_path / "deep" / "cost.json"
    words = f"benchmark --systems jmt --batches 2,3 --lengths 1 --repeats 1 --quiet --json {path}"
    assert main([*words.split(), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert len([line for line in said.splitlines() if line.startswith("jmt ")]) == 4
    told = json.loads(path.read_text())
    assert {(row["batch"], row["precision"]) for row in told["costs"]} == {
        (batch, precision) for batch in (2, 3) for precision in ("fp32", "bf16")
    }
    row = told["costs"][0]
    assert row["shapes"]["audio"] == [8, 512] and row["parameters"] > 0
    assert row["limit_seconds"] == pytest.approx(row["product_seconds"] + row["copy_seconds"])
    assert told["machine"]["threads"] == torch.get_num_threads() and told["failed"] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--systems nobody", "no system 'nobody'"),
        ("--precision fp8", "expected fp32 or bf16"),
        ("--batches 0", "--batches has '0'"),
        ("--batches two", "--batches has 'two'"),
        ("--lengths -1", "--lengths has '-1'"),
        ("--lengths ,", "--lengths is empty"),
        ("--repeats 0", "--repeats is 0"),
    ],
)
def test_the_command_refuses_with_a_sentence(words, says, capsys):
    option, value = words.split()
    assert main(["benchmark", f"{option}={value}", "--device", "cpu", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


def test_a_case_that_fails_is_named_and_loses_no_other(monkeypatch, tmp_path, capsys):
    from mmlib import benchmark

    real = benchmark.measure

    def failing(case, **settings):
        if case.batch == 3:
            raise MemoryError("out of memory\nand much more")
        return real(case, **settings)

    monkeypatch.setattr(benchmark, "measure", failing)
    path = tmp_path / "cost.json"
    words = "benchmark --systems jmt --batches 2,3 --lengths 1 --precision fp32 --repeats 1 --quiet"
    assert main([*words.split(), "--device", "cpu", "--json", str(path)]) == 0
    told = json.loads(path.read_text())
    assert len(told["costs"]) == 1 and len(told["failed"]) == 1
    assert "batch 3" in told["failed"][0] and told["failed"][0].endswith("out of memory")
    assert "could not be measured: jmt, batch 3" in capsys.readouterr().err


def test_a_folder_has_the_table_and_the_figure_of_all_that_was_measured(tmp_path, capsys):
    words = "benchmark --systems jmt --batches 2,3 --lengths 1,2 --precision fp32 --repeats 1"
    assert main([*words.split(), "--device=cpu", "--quiet", "--out", str(tmp_path / "cost")]) == 0
    folder = tmp_path / "cost"
    told = json.loads((folder / "cost.json").read_text())["costs"]
    assert [(row["batch"], row["length"]) for row in told] == [(2, 1), (3, 1), (2, 2)]
    sheet = list(csv.DictReader((folder / "cost.csv").open()))
    assert [float(row["share"]) for row in sheet] == [row["share"] for row in told]
    page = (folder / "cost.md").read_text().splitlines()
    assert len(page) == 2 + 2 + 3 and page[4].startswith("| jmt | 2 | 1 | fp32 | ")
    assert (folder / "cost.png").read_bytes().startswith(b"\x89PNG")


def test_the_figure_shows_each_system_against_batch_and_length():
    rows = [
        {"system": system, "batch": batch, "length": length, "precision": precision}
        | {"compiled": False, "scale": "paper", "share": 0.5, "step_seconds": 0.01 * batch * length}
        for system in ("jmt", "avt_ca")
        for batch, length in ((2, 1.0), (16, 1.0), (2, 4.0))
        for precision in ("fp32", "bf16")
    ]
    panels = costs(rows).axes
    drawn = {line.get_label(): line for line in panels[0].get_lines()}
    assert list(drawn) == ["jmt", "avt_ca"]
    assert drawn["jmt"].get_marker() != drawn["avt_ca"].get_marker()
    assert drawn["jmt"].get_xdata().tolist() == [2, 16]
    assert drawn["jmt"].get_ydata().tolist() == pytest.approx([20, 160])
    assert panels[1].get_lines()[0].get_ydata().tolist() == pytest.approx([20, 80])
    with pytest.raises(ValueError, match="nothing to draw"):
        costs([])
