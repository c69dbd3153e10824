"""A reducer of your own, in twenty lines, and its use from the command line.

    cd examples
    audiopatch tag music --patchout own_reducer:Onsets:0.4 -o onsets.out
    audiopatch inspect "music/Wansti - Dark Forest Keep.wav" --patchout own_reducer:Onsets:0.4
    python own_reducer.py                       # the same from Python

A reducer is a frozen dataclass with one verb: tokens and signals in, fewer tokens out. Its fields are its text form,
``own_reducer:Onsets:0.4`` or ``own_reducer:Onsets:keep_rate=0.4@3``, and it combines: ``F2T0+own_reducer:Onsets:0.4``.
"""

from dataclasses import dataclass

from audiopatch.reducers.reducer import Reducer
from audiopatch.tokens import Signals, TokenGrid


@dataclass(frozen=True)
class Onsets(Reducer):
    """Keep the columns where the sound gets louder most: the beats, and what begins with them."""

    keep_rate: float

    def __call__(self, tokens: TokenGrid, signals: Signals) -> TokenGrid:
        n_rows, n_cols = tokens.rectangle()
        loudness = signals.intensity(tokens).unflatten(1, (n_rows, n_cols)).mean(dim=1)  # (B, cols)
        jump = loudness.diff(dim=1, prepend=loudness[:, :1])
        cols = jump.topk(max(1, round(self.keep_rate * n_cols)), dim=1).indices
        rows = cols.new_tensor(range(n_rows))
        return tokens.keep_rows_cols(rows, cols)  # still a rectangle; tokens.keep(index) would drop single tokens

    def describe(self, tokens: TokenGrid) -> str:  # optional: the words that the command line echoes
        return f"keep the {self.keep_rate * 100:g} % of columns with the strongest onsets"


if __name__ == "__main__":
    import torch

    from audiopatch.reducers.plan import describe, parse_plan
    from audiopatch.zoo import load_model

    plan = parse_plan("own_reducer:Onsets:0.4+topk:0.5@2")
    tagger = load_model("tiny-random", device="cpu")
    assert tagger.grid is not None  # it is a transformer
    print(plan, "means", describe(plan, tagger.grid))

    clicks = torch.zeros(1, 10 * tagger.frontend.sample_rate)
    clicks[:, :: tagger.frontend.sample_rate // 2] = 1.0  # two a second
    with torch.no_grad():
        tokens = tagger.backbone(tagger.frontend(clicks), parse_plan("own_reducer:Onsets:0.4")).tokens
    print("kept columns:", sorted(set((tokens.cell[0] % tokens.full[1]).tolist())))
