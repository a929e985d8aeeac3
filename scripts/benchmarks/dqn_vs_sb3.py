"""Our DQN against Stable-Baselines3's, at SB3's own settings, alternated on one machine.

    python scripts/benchmarks/dqn_vs_sb3.py --json OUT            speed: SB3, ours, SB3, ours, ...
    python scripts/benchmarks/dqn_vs_sb3.py --curve --json OUT    returns over 100k agent steps

Both learn with Nature CNN, one update of batch 32 per 4 agent steps, uniform 1-step replay, Adam
1e-4 on fp32 master weights, Huber loss, gradients clipped at 10, target copied every 10,000 agent
steps. SB3: `DQN("CnnPolicy")` on `make_atari_env(..., n_envs=1)` and `VecFrameStack(4)`, all else
its defaults. Ours: preset "sb3" with --envs environments, driven by `playground.trainer.Trainer`,
in the precision that it measures to be the fastest. Both processes flush denormals and use as many
threads as asked for; ours is prepared as play.py prepares its own (`prepare_process`).

Each block is a process of its own. It warms up (exploration falls to its final rate meanwhile, so
that almost every action asks the network), then times a fixed number of agent steps. The ratio is
that of the medians. On a CPU ours also tells where its time goes, in shares of the clock's.
`--curve` trains each seed of each engine from scratch and asks whether ours lies inside SB3's own
95 % interval over seeds (Student's t): the mean of the last 100 games' returns, and the returns of
each tenth of the training. A game counts where it ends; of N games played at once the first end N
times as late. After every block OUT holds what is known so far.

What differs in the game itself is told in `agents/atari.py` (its start, lost lives, pixels).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

# So that this checkout's scripts are found.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agents.atari import resolve
from agents.dqn import DQN, PRESETS, TRAINERS
from agents.evaluation import interval
from playground.config import to_json
from playground.device import prepare_process
from playground.errors import UserError
from playground.run import Run, device_name, read_json, write_json
from playground.trainer import Trainer, TrainerConfig, seed_everything

ENGINES = ("sb3", "ours")
TAIL_GAMES = 100
BINS = 10


def main() -> int:
    """Run the benchmark, or one block of it in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curve", action="store_true", help="returns instead of speed")
    parser.add_argument("--game", default="pong", help="(default pong)")
    parser.add_argument("--envs", type=int, default=8, help="environments of ours (default 8)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads each")
    parser.add_argument("--device", default="cpu", help="of both: cpu or cuda (default cpu)")
    parser.add_argument("--precision", default="auto", help="of ours (default auto)")
    parser.add_argument("--replay", type=int, default=100_000, help="capacity of both, agent steps")
    parser.add_argument("--blocks", type=int, default=5, help="timed blocks of each (default 5)")
    parser.add_argument("--warm", type=int, default=2_000, help="agent steps before the clock")
    parser.add_argument("--steps", type=int, default=4_000, help="agent steps timed in a block")
    parser.add_argument("--curve-steps", type=int, default=100_000, help="agent steps of a curve")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each curve (default 3)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="file for all figures")
    parser.add_argument("--block", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.block:
        print(json.dumps(run_block(json.loads(args.block))))
        return 0
    report: dict[str, Any] = {
        "benchmark": "dqn_vs_sb3 " + ("curve" if args.curve else "speed"),
        "machine": machine(args.threads, args.device),
        "settings": {k: v for k, v in vars(args).items() if k not in ("json", "block")},
        "blocks": [],
    }
    try:
        args.game = resolve(args.game)
        print(json.dumps(report["machine"]))
        if args.curve and args.json and args.json.exists():
            known = read_json(args.json)
            if known["settings"] == report["settings"]:
                report["blocks"] = known["blocks"]
        done = {(block["engine"], block["seed"]) for block in report["blocks"]}
        for number in range(args.seeds if args.curve else args.blocks):
            for engine in ENGINES:
                if (engine, number) in done:
                    continue
                spec = {
                    "engine": engine, "game": args.game, "envs": args.envs, "replay": args.replay,
                    "threads": args.threads, "device": args.device, "precision": args.precision,
                    "seed": number,
                    "warm": 0 if args.curve else args.warm,
                    "steps": args.curve_steps if args.curve else args.steps,
                }  # fmt: skip
                block = start_block(spec)
                report["blocks"].append(block)
                tell(block)
                if args.json:
                    write_json(args.json, report)
        report["summary"] = (curve_summary if args.curve else speed_summary)(report)
        if args.json:
            write_json(args.json, report)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def tell(block: dict[str, Any]) -> None:
    """One line a block."""
    line = f"{block['engine']:>5} seed {block['seed']}: {block['per_second']:7.1f} agent steps/s"
    line += f", {block['updates']} updates, {block['precision']}"
    if "where" in block:
        shares = sorted(block["where"].items(), key=lambda pair: -pair[1])
        line += ": " + ", ".join(f"{name} {share:.0%}" for name, share in shares)
    if block["returns"]:
        line += f", last games {np.mean(tail_of(block)):.2f}"
    print(line, flush=True)


def machine(threads: int, device: str) -> dict[str, Any]:
    """What the figures were made on."""
    flags: set[str] = set()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    packages = ("torch", "stable-baselines3", "ale-py", "gymnasium", "numpy")
    return {
        "device": device_name(device),
        "cpu": device_name(),
        "cores": os.cpu_count(),
        "threads": threads,
        "amx_bf16": "amx_bf16" in flags,
        "avx512_bf16": "avx512_bf16" in flags,
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": {name: metadata.version(name) for name in packages},
    }


# One block, in its own process.


def start_block(spec: dict[str, Any]) -> dict[str, Any]:
    """Run a block in a fresh interpreter; its figures."""
    command = [sys.executable, __file__, "--block", json.dumps(spec)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise UserError(f"The block of {spec['engine']} failed; what it says stands above.")
    return json.loads(done.stdout.splitlines()[-1])


def run_block(spec: dict[str, Any]) -> dict[str, Any]:
    """Train as `spec` says; agent steps per second after the warm-up, updates, (step, return)s."""
    if spec["engine"] == "ours":
        prepare_process()  # as scripts/play.py does
    else:
        torch.set_flush_denormal(True)
    torch.set_num_threads(spec["threads"])
    return {"engine": spec["engine"], "seed": spec["seed"]} | (
        sb3_block(spec) if spec["engine"] == "sb3" else our_block(spec)
    )


class Clock:
    """Notes (seconds, agent steps, updates) when the warm-up and when the block is over."""

    def __init__(self, warm: int, steps: int) -> None:
        self.marks, self.limits = [(time.perf_counter(), 0, 0)], [warm, warm + steps]
        self.returns: list[tuple[int, float]] = []

    def tick(self, step: int, updates: int) -> bool:
        """Whether the block is over."""
        if step >= self.limits[0]:
            self.marks.append((time.perf_counter(), step, updates))
            self.limits.pop(0)
        return not self.limits

    def figures(self, precision: str) -> dict[str, Any]:
        """What the block found."""
        (t0, s0, u0), (t1, s1, u1) = self.marks[-2:]
        return {
            "per_second": (s1 - s0) / (t1 - t0), "steps": s1 - s0, "seconds": t1 - t0,
            "updates": u1 - u0, "precision": precision, "returns": self.returns,
        }  # fmt: skip


class Stopwatch:
    """Seconds by what was done, of calls that are in no other one."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def around(self, owner: Any, method: str, name: str) -> None:
        """Time every call of a method."""
        plain = getattr(owner, method)

        def timed(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return plain(*args, **options)
            finally:
                self.seconds[name] += time.perf_counter() - began

        setattr(owner, method, timed)

    def shares(self, total: float) -> dict[str, float]:
        """Of a time in seconds."""
        found = {name: seconds / total for name, seconds in self.seconds.items()}
        return {**found, "other": 1 - sum(found.values())}


def sb3_block(spec: dict[str, Any]) -> dict[str, Any]:
    """SB3 as it comes."""
    import ale_py
    import gymnasium
    from ale_py.registration import rom_id_to_name
    from stable_baselines3 import DQN as TheirDQN
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack

    gymnasium.register_envs(ale_py)
    name = f"{rom_id_to_name(spec['game'])}NoFrameskip-v4"
    env = VecFrameStack(make_atari_env(name, n_envs=1, seed=spec["seed"]), n_stack=4)
    total = spec["warm"] + spec["steps"]
    explore = {"exploration_fraction": spec["warm"] / total} if spec["warm"] else {}
    model = TheirDQN(
        "CnnPolicy",
        env,
        buffer_size=spec["replay"],
        seed=spec["seed"],
        device=spec["device"],
        **explore,
    )
    clock = Clock(spec["warm"], spec["steps"])

    class Watcher(BaseCallback):
        def _on_step(self) -> bool:
            for info in self.locals["infos"]:
                if "episode" in info:  # of a whole game, raw: their Monitor lies innermost
                    clock.returns.append((self.num_timesteps, float(info["episode"]["r"])))
            return not clock.tick(self.num_timesteps, model._n_updates)

    model.learn(total, callback=Watcher())
    return clock.figures("fp32")


def our_block(spec: dict[str, Any]) -> dict[str, Any]:
    """Preset "sb3" in a run of its own, which is thrown away."""
    clock, watch = Clock(spec["warm"], spec["steps"]), Stopwatch()

    class Watched(DQN):
        def step(self, trainer: Trainer) -> dict[str, Any]:
            metrics = super().step(trainer)
            ended = int(self.ended.sum())
            for score in list(self.finished)[len(self.finished) - ended :]:
                clock.returns.append((self.progress, score))
            marks = len(clock.marks)
            if clock.tick(self.progress, self.updates):
                trainer.stop()
            elif len(clock.marks) > marks:
                watch.seconds.clear()  # the warm-up's
            return metrics

    config = replace(
        PRESETS["sb3"], game=spec["game"], envs=spec["envs"], replay_capacity=spec["replay"],
        # SB3's exploration falls over a tenth of the training
        epsilon_steps=spec["warm"] or spec["steps"] // 10, eval_film=0.0,
    )  # fmt: skip
    options = TRAINERS["sb3"] | {"evaluate_every": None, "checkpoint_minutes": None}
    settings = TrainerConfig(
        seed=spec["seed"], device=spec["device"], precision=spec["precision"],
        threads=spec["threads"], **options,
    )  # fmt: skip
    seed_everything(spec["seed"])
    task = Watched(config, spec["seed"])
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder), "dqn", "benchmark", to_json(config))
        trainer = Trainer(settings, task, run, say=lambda text: None)
        for owner, method, name in (
            (task, "_act", "acting"),
            (task.envs, "send", "emulators"),
            (task.envs, "recv", "emulators"),
            (task.replay, "add", "replay"),
            (task.replay, "draw", "replay"),
            (task.replay, "gather", "replay"),
            (trainer, "learn", "update"),
        ):
            watch.around(owner, method, name)
        trainer.fit()
        task.close()
        chosen = run.settings["precision"]
    found = clock.figures(f"{chosen['precision']} ({chosen['reason']})")
    return found | ({"where": watch.shares(found["seconds"])} if spec["device"] == "cpu" else {})


# What it comes to.


def of(report: dict[str, Any], engine: str) -> list[dict[str, Any]]:
    """One engine's blocks."""
    return [block for block in report["blocks"] if block["engine"] == engine]


def speed_summary(report: dict[str, Any]) -> dict[str, Any]:
    """Median, min, max of each, and the ratio; printed, too."""
    rates = {engine: [b["per_second"] for b in of(report, engine)] for engine in ENGINES}
    pairs = [ours / theirs for theirs, ours in zip(rates["sb3"], rates["ours"], strict=True)]
    print(f"\n{'agent steps/s':<14}{'median':>9}{'min':>9}{'max':>9}")
    for engine, values in rates.items():
        print(f"{engine:<14}{median(values):>9.1f}{min(values):>9.1f}{max(values):>9.1f}")
    ratio = median(rates["ours"]) / median(rates["sb3"])
    print(f"{'ratio':<14}{ratio:>9.2f}{min(pairs):>9.2f}{max(pairs):>9.2f}   (of neighbours: "
          "min, max)")  # fmt: skip
    return {
        **{e: {"median": median(v), "min": min(v), "max": max(v)} for e, v in rates.items()},
        "ratio": ratio,
        "ratio_of_neighbours": {"min": min(pairs), "max": max(pairs)},
    }


def tail_of(block: dict[str, Any]) -> list[float]:
    """Returns of a training's last games."""
    return [score for _, score in block["returns"][-TAIL_GAMES:]]


def curve_summary(report: dict[str, Any]) -> dict[str, Any]:
    """Whether ours lies in SB3's interval, at the end and in each tenth; printed, too."""
    if not all(block["returns"] for block in report["blocks"]):
        raise UserError("Some training ended before its first game did: raise --curve-steps.")
    tails = {e: np.array([np.mean(tail_of(b)) for b in of(report, e)]) for e in ENGINES}
    low, high = interval(tails["sb3"])
    ours = float(tails["ours"].mean())
    print(f"\nmean of the last {TAIL_GAMES} games, by seed")
    for engine, values in tails.items():
        print(f"{engine:>5}  " + "  ".join(f"{value:.2f}" for value in values))
    print(f"SB3's interval {low:.2f} to {high:.2f}; ours {ours:.2f}: "
          + ("inside" if low <= ours <= high else "OUTSIDE"))  # fmt: skip
    width = report["settings"]["curve_steps"] / BINS
    bins = []
    print(f"\n{'up to step':>10}{'SB3 low':>10}{'SB3 high':>10}{'SB3':>9}{'ours':>9}")
    for k in range(BINS):
        found: dict[str, np.ndarray] = {}
        for engine in ENGINES:
            games = [
                [score for step, score in block["returns"] if 0 < step - k * width <= width]
                for block in of(report, engine)
            ]
            found[engine] = np.array([np.mean(scores) for scores in games if scores])
        if len(found["sb3"]) < 2 or not len(found["ours"]):
            continue  # too few games ended here
        bounds = interval(found["sb3"])
        mean = float(found["ours"].mean())
        inside = bounds[0] <= mean <= bounds[1]
        bins.append({
            "until": (k + 1) * width, "low": bounds[0], "high": bounds[1],
            "sb3": float(found["sb3"].mean()), "ours": mean, "inside": inside,
        })  # fmt: skip
        line = f"{(k + 1) * width:>10.0f}{bounds[0]:>10.2f}{bounds[1]:>10.2f}"
        line += f"{found['sb3'].mean():>9.2f}{mean:>9.2f}"
        print(line if inside else line + "   outside")
    print(f"{sum(b['inside'] for b in bins)} of {len(bins)} bins inside")
    return {
        "tail": {e: v.tolist() for e, v in tails.items()},
        "interval": [low, high],
        "ours": ours,
        "inside": low <= ours <= high,
        "bins": bins,
    }


if __name__ == "__main__":
    sys.exit(main())
