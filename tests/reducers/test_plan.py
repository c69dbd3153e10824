"""The plan language: what reads, what it writes back, where errors point, and what it says it will do."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiopatch.errors import UsageError
from audiopatch.reducers import REDUCERS
from audiopatch.reducers.adaptive import AdaptivePatchout
from audiopatch.reducers.chain import Chain
from audiopatch.reducers.fixed import FixedPatchout
from audiopatch.reducers.plan import NO_REDUCTION, Plan, describe, parse_plan
from audiopatch.reducers.random import RandomPatchout
from audiopatch.reducers.structured import StructuredPatchout
from audiopatch.reducers.tome import TokenMerging
from audiopatch.reducers.topk import SCORES, TopK

MAEST_30S = (9, 186)
counts = st.integers(0, 300)
rates = st.floats(0.01, 1, allow_nan=False)
numbers = st.sets(st.integers(0, 40), max_size=6).map(lambda found: tuple(sorted(found)))
patchouts = st.one_of(
    st.builds(FixedPatchout, counts, counts, rows=numbers, cols=numbers),
    st.builds(StructuredPatchout, counts, counts, per_clip=st.booleans()),
    st.builds(RandomPatchout, rates, counts, per_clip=st.booleans()),
)
in_blocks = st.one_of(
    st.builds(AdaptivePatchout, counts, counts, noise=st.floats(0, 1)),
    st.builds(TopK, rates, st.sampled_from(list(SCORES))),
    st.builds(TopK, rates, st.sampled_from(["cls", "token"]), st.booleans()),
    st.builds(TokenMerging, counts),
    patchouts,
)


@given(st.dictionaries(st.integers(1, 24), in_blocks, max_size=5), st.none() | patchouts)
def test_a_plan_reads_back_from_its_text(reducers, first):
    plan = Plan(reducers if first is None else {0: first, **reducers})
    again = parse_plan(str(plan))
    if plan != {0: FixedPatchout()}:  # F0T0 is another way to write none
        assert again == plan
    assert str(parse_plan(str(again))) == str(again)


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("F3T2", {0: FixedPatchout(3, 2)}),
        ("F0T3R8", {0: FixedPatchout(0, 3, run=8)}),
        ("fixed:F0T3R8/rows=2", {0: FixedPatchout(0, 3, run=8, rows=(2,))}),
        ("f3t2", {0: FixedPatchout(3, 2)}),
        ("fixed:rows=0,7-8", {0: FixedPatchout(rows=(0, 7, 8))}),
        ("topk:0.7/cls@4,7,10", {4: TopK(0.7), 7: TopK(0.7), 10: TopK(0.7)}),
        ("topk:0.7/token/fuse@2-3", {2: TopK(0.7, "token", True), 3: TopK(0.7, "token", True)}),
        ("F3T2 + topk:0.7@7", {0: FixedPatchout(3, 2), 7: TopK(0.7)}),
        ("adaptive:F4T121", {4: AdaptivePatchout(2, 41), 7: AdaptivePatchout(1, 40), 10: AdaptivePatchout(1, 40)}),
        ("structured:F4T40+random:U100", {0: Chain((StructuredPatchout(4, 40), RandomPatchout(drop_u=100)))}),
        ("random:keep_rate=0.5/per_clip", {0: RandomPatchout(0.5, per_clip=True)}),
        ("random:0.5@3", {3: RandomPatchout(0.5)}),
        ("tome:40@1-3", {block: TokenMerging(40) for block in (1, 2, 3)}),
    ],
)
def test_what_texts_mean(text, plan):
    assert parse_plan(text) == plan
    assert parse_plan(str(parse_plan(text))) == plan


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("f3t2+topk:keep_rate=.7/score=cls @ 7", "F3T2+topk:0.7@7"),
        ("adaptive:F3T120", "adaptive:F3T120@4,7,10"),
        ("tome:40@1,2,3,4", "tome:40@1-4"),
        ("topk:0.7/intensity@0", "topk:0.7/intensity@0"),
        ("fixed:F3T2", "F3T2"),
    ],
)
def test_one_spelling_names_a_run(text, canonical):
    assert str(parse_plan(text)) == canonical


@pytest.mark.parametrize("text", [None, "", "none", " None ", "F0T0"])
def test_texts_that_keep_everything(text):
    assert parse_plan(text) == NO_REDUCTION
    assert str(parse_plan(text)) == "none"


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("F3T2+topkk:0.7@7", 5, "unknown reducer 'topkk'; did you mean 'topk'?"),
        ("topk:7@7", 5, "at most 1, not 7"),
        ("topk:half", 5, "keep_rate takes a number, not 'half'"),
        ("topk", 4, "topk needs its keep_rate"),
        ("topk:0.7/clss", 5, "did you mean 'cls'?"),
        ("topk:0.7/cls/3", 13, "no use for '3'"),
        ("topk:0.7/colour=red", 9, "topk has no setting 'colour'; it has: keep_rate, score, fuse"),
        ("topk:0.7/intensity/fuse", 5, "goes with cls or token, not intensity"),
        ("structured:F4Q3", 11, "knows the letters F, T, not Q"),
        ("random:U30/per_clip=perhaps", 11, "per_clip takes true or false"),
        ("F3T2+topk:0.7@x", 14, "'x' names no blocks"),
        ("topk:0.7@7,4", 9, "in ascending order"),
        ("topk:0.7@7+random:0.5@7", 11, "block 7 already has a reducer"),
        ("F3T2++F1T1", 5, "a reducer is missing here"),
        ("topk:0.7@1-99999999", 9, "names no blocks"),
        ("adaptive:F3T2@7-4", 14, "'7-4' names no blocks"),
        ("fixed:rows=7-4", 6, "rows takes numbers such as 0,5,7-9, not '7-4'"),
        ("tome:-5", 5, "n_merge counts what goes, so it cannot be -5"),
        ("structured:drop_f=-5", 11, "drop_f counts what goes, so it cannot be -5"),
        ("nowhere:Nothing:3", 0, "No module named 'nowhere'"),
        (".json:JSONDecoder", 0, "unknown reducer '.json'"),
        ("json:JSONDecoder", 0, "no frozen dataclass that derives from Reducer"),
    ],
)
def test_errors_point_at_the_character(text, column, words):
    with pytest.raises(UsageError) as error:
        parse_plan(text)
    message, quoted, caret = str(error.value).split("\n")
    assert words in message
    assert quoted == f"  {text}"
    assert caret == " " * (column + 2) + "^"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("none", "keep all 1674 tokens"),
        ("F0T3R8", "keep all 9 rows, keep every 3rd run of 8 of the 186 columns: 576 of 1674 tokens, 34 %"),
        ("F3T2", "drop rows 0, 7, 8 of 9, keep every 2nd of 186 columns: 558 of 1674 tokens, 33 %"),
        ("F0T3", "keep all 9 rows, keep every 3rd of 186 columns: 558 of 1674 tokens, 33 %"),
        ("topk:0.7@7", "keep the best 70 % by CLS attention: 1172 of 1674 tokens after block 7"),
        (
            "F3T2+topk:0.7@7",
            "drop rows 0, 7, 8 of 9, keep every 2nd of 186 columns; keep the best 70 % by CLS attention: "
            "558 of 1674 tokens after block 0, 391 after block 7",
        ),
        (
            "structured:F4T40+random:U100",
            "drop 4 of 9 rows and 40 of 186 columns at random; drop 100 tokens at random: 630 of 1674 tokens, 38 %",
        ),
        (
            "adaptive:F3T120@4,7,10",
            "drop the 1 row and 40 columns that CLS attends to least: "
            "1168 of 1674 tokens after block 4, 742 after block 7, 396 after block 10",
        ),
        (
            "tome:100@1,2",
            "merge the most similar 100 pairs of tokens: 1574 of 1674 tokens after block 1, 1474 after block 2",
        ),
    ],
)
def test_a_plan_says_what_it_does(text, words):
    assert describe(parse_plan(text), MAEST_30S) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("topk:0.7@13", "block 13 does not exist; this model has blocks 1 to 12"),
        ("topk:0.7@0", "there is no attention before block 1"),
        ("random:0.5+F3T2", "put the structured reducer first"),
        ("F9T1", "leaves nothing of a grid of 9 rows"),
        ("structured:T186", "drops 186 columns, but this input has only 186"),
        ("tome:838@1", "more than half of the 1674 tokens"),
    ],
)
def test_plans_that_cannot_work_say_why(text, words):
    with pytest.raises(UsageError, match=words):
        describe(parse_plan(text), MAEST_30S, 12)


OWN_REDUCER = """
from dataclasses import dataclass
from audiopatch.reducers.reducer import Reducer

@dataclass(frozen=True)
class Loudest(Reducer):
    n: int
    def __call__(self, tokens, signals):
        return tokens.keep(signals.intensity(tokens).topk(self.n, dim=1).indices)
"""


def test_a_reducer_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "own_reducer.py").write_text(OWN_REDUCER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    plan = parse_plan("own_reducer:Loudest:100+topk:0.5@2")
    assert str(plan) == "own_reducer:Loudest:100+topk:0.5@2"
    assert describe(plan, MAEST_30S).endswith("100 of 1674 tokens after block 0, 50 after block 2")


@pytest.mark.parametrize(
    ("text", "draws"),
    [("F3T2+topk:0.7@7", False), ("F3T2+structured:F1T3", True), ("random:0.5@3", True), ("none", False)],
)
def test_a_plan_knows_whether_it_draws(text, draws):
    assert parse_plan(text).draws is draws


def test_the_example_of_ones_own_reducer_works():
    folder = Path(__file__).parents[2] / "examples"
    run = subprocess.run([sys.executable, "own_reducer.py"], cwd=folder, capture_output=True, text=True, check=True)
    assert "216 of 549 tokens after block 0, 108 after block 2" in run.stdout


@given(st.text("FTU0357.:/@+,-= topkcls", max_size=25))
def test_any_other_text_is_a_usage_error(text):
    try:
        parse_plan(text)
    except UsageError as error:
        assert str(error).count("\n") == 2


def test_listing_reducers_needs_no_torch():
    code = "import sys; from audiopatch.reducers import REDUCERS; list(REDUCERS); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert {"fixed", "structured", "random", "adaptive", "topk", "tome"} <= set(REDUCERS)
