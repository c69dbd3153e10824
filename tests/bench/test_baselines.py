"""Other people's networks take part under the same terms as ours."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from audiopatch.bench.baselines import build_baseline


def test_a_batch_is_counted_as_that_many_segments_and_one_alone_as_one():
    three = build_baseline("efficientat", device=torch.device("cpu"), batch=3)
    assert three.n_segments == three.batch == three.case.batch == 3
    for run, n_segments in ((three.run, 3), (three.run_one, 1)):
        with FlopCounterMode(display=False) as counter:
            run()
        assert counter.get_total_flops() // 2 == n_segments * three.macs
