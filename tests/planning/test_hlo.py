"""The reader of compiled programs, on one that XLA compiled (golden/make.py) and on lines as XLA writes them."""

import pathlib

import pytest

from gptjax.planning import hlo
from gptjax.planning.hlo import Collective, Traffic

GOLDEN = pathlib.Path(__file__).parent / "golden" / "loop.hlo.txt"
L, D, DATA, SLICES = 3, 1024, 4, 2  # as in golden/make.py
BF16, F32 = 2, 4


@pytest.fixture(scope="module")
def program():
    return hlo.read(GOLDEN.read_text(), [0] * DATA + [1] * DATA)


def test_collectives_in_loops_count_as_often_as_they_run(program):
    sums = hlo.by_kind(program.collectives)
    sent = L * BF16 * D * D * (DATA - 1) / DATA  # of a ring, by each device
    assert sums["all-gather"] == Traffic(2 * L, 2 * sent, 0)  # forward, and again for the backward pass
    assert sums["reduce-scatter"] == Traffic(L, sent, 0)


def test_what_slices_exchange_goes_by_the_slow_network(program):
    gradient = F32 * L * D * D / DATA
    assert hlo.by_kind(program.collectives)["all-reduce"] == Traffic(1, 0, 2 * gradient * (SLICES - 1) / SLICES)


def test_cycles_are_of_all_that_is_scheduled_and_no_more(program):
    once = sum(int(line.split('"')[0]) for line in GOLDEN.read_text().split('"estimated_cycles":"')[1:])
    assert program.unknown_loops == 0
    assert once < program.cycles < L * once


def module(*lines: str, body: tuple[str, ...] = (), condition: tuple[str, ...] = ()) -> str:
    """A program with one loop, around lines of its own."""
    return "\n".join(
        [
            "HloModule jit_step, is_scheduled=true",
            "%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {",
            *(f"  {line}" for line in body),
            "}",
            "%condition (p: (s32[], f32[8])) -> pred[] {",
            *(f"  {line}" for line in condition),
            "}",
            "ENTRY %main (x: f32[8]) -> f32[8] {",
            *(line if line.startswith("}}") else f"  {line}" for line in lines),
            "}",
        ]
    )


LOOP = "%while.1 = (s32[], f32[8]{0}) while(%t), condition=%condition, body=%body"
SUM = "%all-reduce.1 = f32[8]{0} all-reduce(%x), channel_id=1, replica_groups={{0,1},{2,3}}, to_apply=%add"


def test_a_loop_of_unknown_length_counts_once_and_is_reported():
    found = hlo.read(module(LOOP, body=(SUM,), condition=("ROOT %lt = pred[] compare(%i, %n), direction=LT",)), [0] * 4)
    assert found.unknown_loops == 1
    assert found.collectives == [Collective("all-reduce", 32, 1, 2, 1)]


@pytest.mark.parametrize(
    ("loop", "condition"),
    [
        (LOOP, ("%c = s32[] constant(12)", "ROOT %lt = pred[] compare(%i, %c), direction=LT")),
        (LOOP + ', backend_config={"known_trip_count":{"n":"12"}}', ("%c = s32[] constant(99)",)),
    ],
)
def test_the_length_of_a_loop(loop, condition):
    (found,) = hlo.read(module(loop, body=(SUM,), condition=condition), [0] * 4).collectives
    assert found.times == 12


def test_cycles_of_loops_count_as_often_as_they_run():
    cost = ', backend_config={{"estimated_cycles":"{}"}}'
    inner, outer = (f"%copy.{n} = f32[8]{{0}} copy(%x)" + cost.format(n) for n in (10, 5))
    assert hlo.read(module(LOOP, outer, body=(inner,), condition=("%c = s32[] constant(12)",)), [0]).cycles == 125


def test_what_a_fusion_is_made_of_costs_nothing_besides_it():
    inner = """%fused (p: f32[8]) -> f32[8] {
  ROOT %a = f32[8]{0} add(%p, %p), backend_config={"estimated_cycles":"7"}
}
"""
    outer = '%f = f32[8]{0} fusion(%x), kind=kLoop, calls=%fused, backend_config={"estimated_cycles":"5"}'
    assert hlo.read(inner + module(outer), [0]).cycles == 5


def test_a_start_is_as_large_as_its_results():
    starts = [
        "%all-gather-start = ((f32[2]{0}, f32[4]{0}), (f32[8]{0}, f32[16]{0})) all-gather-start(%x, %y)",
        "%all-reduce-start = (f32[8]{0}, f32[16]{0}) all-reduce-start(%x, %y), to_apply=%add",
        "%p = (f32[8]{0}, f32[8]{0}, u32[], u32[]) collective-permute-start(%x), source_target_pairs={{0,1},{1,0}}",
    ]
    found = hlo.read(module(*starts), [0] * 4).collectives
    assert [one.operand_bytes for one in found] == [96, 96, 32]


def test_a_kernel_whose_text_spans_lines_does_not_end_the_computation():
    kernel = '%k = f32[8]{0} custom-call(%x), custom_call_target="tpu_custom_call", backend_config={"body":{"a":{'
    found = hlo.read(module(kernel, '}}, "more": {"b": 1', "}}", SUM), [0] * 4)
    assert [one.kind for one in found.collectives] == ["all-reduce"]


def test_a_gather_that_stands_in_several_fusions_counts_where_it_starts():
    fusion = """%{name} (p: bf16[4]) -> bf16[16] {{
  %p = bf16[4]{{0}} parameter(0)
  %all-gather.{n} = bf16[16]{{0}} all-gather(%p), channel_id=1, replica_groups=[1,4]<=[4], dimensions={{0}}
  %other = bf16[16]{{0}} custom-call(%{handed}), custom_call_target="{target}"
}}
"""
    first = fusion.format(name="fused.1", n=1, handed="all-gather.1", target="AsyncCollectiveStart")
    second = fusion.format(name="fused.2", n=2, handed="nothing", target="AsyncCollectiveDone")
    between = fusion.format(name="async_collective_fusion.3", n=3, handed="p", target="other")
    names = ("fused.1", "async_collective_fusion.3", "fused.2")
    calls = [f"%f.{n} = bf16[16]{{0}} fusion(%x), kind=kCustom, calls=%{name}" for n, name in enumerate(names)]
    found = hlo.read(first + between + second + module(*calls), [0] * 4)
    assert found.collectives == [Collective("all-gather", 32, 1, 4, 1)]


def test_the_tpu_writes_a_reduce_scatter_as_a_fusion():
    fused = """%all-reduce-scatter.1 (p: f32[64]) -> f32[16] {
  %p = f32[64]{0} parameter(0)
  %all-reduce.7 = f32[64]{0} all-reduce(%p), channel_id=3, replica_groups={{0,1,2,3}}, to_apply=%add
  ROOT %part = f32[16]{0} dynamic-slice(%all-reduce.7, %i), dynamic_slice_sizes={16}
}
"""
    call = "%f.1 = f32[16]{0} fusion(%x), kind=kCustom, calls=%all-reduce-scatter.1"
    assert hlo.read(fused + module(call), [0] * 4).collectives == [Collective("reduce-scatter", 256, 1, 4, 1)]


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("replica_groups={{0,2},{1,3}}, dimensions={0}", [[0, 2], [1, 3]]),
        ("replica_groups=[2,2]<=[4], dimensions={0}", [[0, 1], [2, 3]]),
        ("replica_groups=[2,2]<=[2,2]T(1,0), dimensions={0}", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2] {'a'}, dimensions={0}", [[0, 2], [1, 3]]),
        ("source_target_pairs={{0,1},{1,2},{2,3},{3,0}}", [[0, 1], [1, 2], [2, 3], [3, 0]]),
        ("replica_groups={}, dimensions={0}", [[0, 1, 2, 3]]),
    ],
)
def test_who_takes_part(text, groups):
    assert hlo.groups_of(text, 4) == groups


def test_a_sum_over_hosts_sends_its_parts_between_them():
    line = SUM.replace("{{0,1},{2,3}}", "{{0,1,2,3}}")
    (found,) = hlo.read(module(line), [0, 0, 1, 1]).collectives
    # 32 bytes: scattered over the 2 devices of a host, summed between 2 hosts, gathered in the host.
    assert hlo.traffic(found) == Traffic(1, 2 * 32 / 2, 2 * 16 / 2)


def test_without_estimates_there_are_no_cycles():
    assert hlo.read(module(SUM), [0] * 4).cycles is None
