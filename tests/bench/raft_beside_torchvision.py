"""RAFT beside torchvision's on the same machine, in one run: pairs of frames a second.

    python tests/bench/raft_beside_torchvision.py [--height 256 --width 256 --pairs 8]

Needs the extra [oracle] and torchvision. Random weights; each is measured in turn, three
times, and the medians are printed with their ratio.
"""

import argparse
import statistics
import sys
import time
import types

from videojam_jax.bench.raft import raft_rate

DTYPES = ("float32", "bfloat16")


def torch_rate(size, dtype, height, width, pairs, updates, seconds):
    # Its compiled operators are missing beside some builds of torch, and RAFT needs none.
    registrations = "torchvision._meta_registrations"
    sys.modules.setdefault(registrations, types.ModuleType(registrations))
    import torch
    from torchvision.models.optical_flow import raft_large, raft_small

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = {"large": raft_large, "small": raft_small}[size](weights=None).eval().to(device)
    frames = torch.rand(pairs + 1, 3, height, width, device=device) * 2 - 1

    def estimate():
        with (
            torch.inference_mode(),
            torch.autocast(device, getattr(torch, dtype), enabled=dtype != "float32"),
        ):
            model(frames[:-1], frames[1:], num_flow_updates=updates)
        if device == "cuda":
            torch.cuda.synchronize()

    estimate()
    begin, done = time.perf_counter(), 0
    while not done or time.perf_counter() - begin < seconds:
        estimate()
        done += pairs
    return done / (time.perf_counter() - begin)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("height", 256), ("width", 256), ("pairs", 8), ("updates", 12)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--sizes", nargs="+", default=["large"])
    parser.add_argument("--dtypes", nargs="+", default=DTYPES)
    given = parser.parse_args()
    rest = given.height, given.width, given.pairs, given.updates, given.seconds
    for size in given.sizes:
        for dtype in given.dtypes:
            rates = [(raft_rate(size, dtype, *rest), torch_rate(size, dtype, *rest))
                     for _ in range(3)]
            ours, theirs = (statistics.median(column) for column in zip(*rates, strict=True))
            print(f"raft {size} {dtype}: {ours:.2f} pairs/s, torchvision {theirs:.2f}, "
                  f"{ours / theirs:.2f} times", flush=True)


if __name__ == "__main__":
    main()
