"""Stands for a training in the sweep's tests: `sweep_child.py RUN WHAT SECONDS [SAVING]`.

Logs a figure, waits, saves a checkpoint of step 100. WHAT: "train"; "fail" (always), "fail once",
"train, fail" (when all is done), "die" (by SIGKILL). A first SIGTERM ends it early, saved at step
50; a second one breaks it off. The file RUN/asked has a letter for each.
"""

import json
import os
import signal
import sys
import time
import zlib
from pathlib import Path

run, what, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
saving = float(sys.argv[4]) if len(sys.argv) > 4 else 0.3  # seconds
asked = 0


def end(number, frame):
    global asked
    asked += 1
    with open(run / "asked", "a") as file:
        file.write("t")


signal.signal(signal.SIGTERM, end)
(run / "checkpoints").mkdir(parents=True, exist_ok=True)
tries = run.parent / f"{run.name}.tries"
first = not tries.exists()
with open(tries, "a") as file:
    file.write(f"{time.time()}\n")
settings = {"task": "dqn", "config": {"game": "pong", "protocol": "machado"}}
(run / "config.json").write_text(json.dumps(settings))
if what == "fail" or (what == "fail once" and first):
    print("Traceback, and so on\nRuntimeError: it is broken\n", file=sys.stderr)
    sys.exit(1)
if what == "die":
    os.kill(os.getpid(), signal.SIGKILL)
with open(run / "metrics.jsonl", "a") as file:
    file.write(json.dumps({"step": 50, "time": 0, "return": 1.5, "per_second": 10.0}) + "\n")
(run / "started").touch()
until = time.monotonic() + seconds
while time.monotonic() < until and not asked:
    time.sleep(0.01)
if asked:  # saving takes its time
    until = time.monotonic() + saving
    while time.monotonic() < until and asked < 2:
        time.sleep(0.01)
    if asked > 1:
        sys.exit(1)
step = 50 if asked else 100
saved, state = run / "checkpoints" / f"step_{step:012d}", b'{"owed": false}'
saved.mkdir(exist_ok=True)
(saved / "state.json").write_bytes(state)
files = {"state.json": {"size": len(state), "crc32": zlib.crc32(state)}}
(saved / "manifest.json").write_text(json.dumps({"format": 1, "step": step, "files": files}))
with open(run / "metrics.jsonl", "a") as file:
    file.write(json.dumps({"step": step, "time": 1, "evaluate/score": 7.0}) + "\n")
with open(tries, "a") as file:
    file.write(f"{time.time()}\n")
sys.exit(what == "train, fail")
