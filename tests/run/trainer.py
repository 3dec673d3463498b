"""A plain trainer of a user's own: a linear model on made-up data, by numpy alone, resumable.

It writes what docs/trainers.md asks for and knows nothing of slaw.
"""

import argparse
import json
import signal
import sys
import time
from pathlib import Path

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--width", type=int, required=True)
parser.add_argument("--steps", type=int, required=True)
parser.add_argument("--batch", type=int, required=True)
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", required=True)
parser.add_argument("--resume", action="store_true")
parser.add_argument("--wait-at", type=int, default=0)
parser.add_argument("--wait-for", default="")
parser.add_argument("--fault", default="")
args = parser.parse_args()

stopped: list[int] = []
signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
state_file = Path(args.out, "state.npz")
rng = np.random.default_rng(1)
truth = rng.normal(size=64) / np.arange(1, 65)
weights, first = np.zeros(args.width), 0
if args.resume and state_file.exists():
    state = np.load(state_file)
    weights, first = state["weights"], int(state["step"])


def batch(step):
    inputs = np.random.default_rng([args.seed, step]).normal(size=(args.batch, 64))
    return inputs, inputs @ truth


metrics = Path(args.out, "metrics.jsonl").open("a")  # noqa: SIM115 - until the end
if args.fault == "nothing":
    sys.exit("no GPU here")
if first == 0:
    metrics.write(json.dumps({"params": args.width, "flops_per_token": 6 * args.width}) + "\n")
for step in range(first, args.steps):
    inputs, targets = batch(step)
    errors = inputs[:, : args.width] @ weights - targets
    weights -= args.lr * inputs[:, : args.width].T @ errors / args.batch
    loss = 1 + float(np.mean(errors**2))
    point = {"step": step + 1, "loss": loss}
    if (step + 1) % 10 == 0 or step + 1 == args.steps:
        inputs, targets = batch(10**6)
        point["val_loss"] = 1 + float(np.mean((inputs[:, : args.width] @ weights - targets) ** 2))
    line = json.dumps(point) + "\n"
    if args.fault == "half" and step == 5:
        metrics.write(line[:9])
        sys.exit(0)
    if args.fault == "inf" and step == 5:
        line = line.replace(str(loss), "Infinity")
    if args.fault == "early" and step == 5:
        sys.exit(0)
    metrics.write(line)
    metrics.flush()
    while args.wait_at == step + 1 and not stopped and not Path(args.wait_for or "no").exists():
        time.sleep(0.01)
    if stopped:
        np.savez(state_file, weights=weights, step=step + 1)
        sys.exit(75)
