"""`virnucpro bench` and other people's code on the same workloads, in one run on one GPU.

    python3 bench/peers/side_by_side.py --virnucpro target/release/virnucpro --out side_by_side.json

Prints a Markdown table; results are written to --out as they come. Each program is a process of its
own and has the GPU to itself. Ours runs before the others and again behind them, since a card that has
become warm is slower; ratios are those of the mean of both. Exit status 1 if one of them failed.
"""

import argparse
import datetime
import importlib.metadata
import json
import statistics
import subprocess
import sys
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Workloads of a model, and tokens of one timed pass: a few seconds for the peers.
PLAN = {
    "esm2-3b": (["fixed:168", "fixed:52", "proteome"], 200_000),
    "esm2-650m": (["fixed:168", "proteome"], 500_000),
    "esm2-8m": (["fixed:168", "proteome"], 2_000_000),
    "dnabert-s": (["fixed:112", "proteome"], 400_000),
}
# Seconds for a process to start, beside the time limit of its measurements.
STARTING = 60
OURS = "virnucpro"


def machine():
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=True).stdout
        gpu, driver = answer.splitlines()[0].split(", ")
    except (OSError, subprocess.CalledProcessError):
        gpu = driver = "none"
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
    now = datetime.datetime.now(datetime.timezone.utc)
    return {"gpu": gpu, "driver": driver, **versions, "date": now.strftime("%Y-%m-%d %H:%M UTC")}


def json_lines(command, seconds, failures):
    """JSON objects that the command prints, as they come; notes a failure, and keeps what came."""
    command = [str(part) for part in command]
    print("+", " ".join(command), file=sys.stderr, flush=True)
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        failures.append(f"{command[0]}: {error}")
        return
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        text = ""
        for line in process.stdout:
            # An object may be printed over several lines.
            text += line
            try:
                found = json.loads(text)
            except json.JSONDecodeError:
                continue
            text = ""
            yield found
        if process.wait() or text:
            failures.append(f"exit status {process.returncode}: {' '.join(command)}")
    finally:
        timer.cancel()


def ours(model, lengths, tokens, options, failures):
    for workload in lengths:
        command = [options.virnucpro, "bench", "--model", model, "--lengths", workload]
        command += ["--precision", options.precision, "--tokens", tokens]
        command += ["--device", options.device, "--json"]
        for found in json_lines(command, STARTING + options.time_limit, failures):
            yield {"peer": OURS, **found}


def peers(model, lengths, tokens, options, failures):
    if model == "dnabert-s":
        command, runs = [HERE / "dnabert_s.py"], 3
    else:
        command, runs = [HERE / "esm2_hf.py", "--model", model], 2
        command += ["--skip-compile"] if options.skip_compile else []
    command += ["--lengths", *lengths, "--tokens", tokens, "--precision", options.precision]
    command += ["--device", options.device, "--time-limit", options.time_limit]
    # The time limit is looked at between passes, so a slow one may overrun it.
    limit = STARTING + 2 * runs * len(lengths) * options.time_limit
    yield from json_lines([sys.executable, *command], limit, failures)


def table(results):
    columns = "model lengths program precision budget tokens/s sequences/s virnucpro"
    yield f"| {columns.replace(' ', ' | ')} |"
    yield "|---|---|---|---|---:|---:|---:|---:|"
    workloads = dict.fromkeys((row["model"], row["lengths"]) for row in results)
    for workload in workloads:
        rows = [row for row in results if (row["model"], row["lengths"]) == workload]
        mine = [row["tokens_per_second"] for row in rows if row["peer"] == OURS]
        for row in rows:
            rate = row["tokens_per_second"]
            ratio = f"{statistics.mean(mine) / rate:.3f}×" if mine and row["peer"] != OURS else ""
            budget = str(row.get("token_budget", ""))
            if row.get("not_tried"):
                budget += f" (no time for {', '.join(map(str, row['not_tried']))})"
            cells = [*workload, row["peer"], row["precision"], budget]
            cells += [f"{rate:,.0f}", f"{row['sequences_per_second']:,.0f}", ratio]
            yield "| " + " | ".join(map(str, cells)) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--virnucpro", type=Path, help="our program; without it only the peers run")
    parser.add_argument("--out", type=Path, default=Path("side_by_side.json"))
    default = ["esm2-3b", "esm2-650m", "dnabert-s"]
    parser.add_argument("--models", nargs="+", choices=PLAN, default=default)
    parser.add_argument("--lengths", nargs="+", help="instead of those planned for each model")
    parser.add_argument("--tokens", type=int, help="instead of those planned for each model")
    parser.add_argument("--precision", choices=["f16", "bf16"], default="f16")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--skip-compile", action="store_true")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds per measurement")
    options = parser.parse_args()

    results, failures = [], []
    numbers = {"setup": machine(), "results": results, "failures": failures}
    for model in options.models:
        lengths, tokens = options.lengths or PLAN[model][0], options.tokens or PLAN[model][1]
        for programs in [ours, peers, ours] if options.virnucpro else [peers]:
            for found in programs(model, lengths, tokens, options, failures):
                results.append(found)
                options.out.write_text(json.dumps(numbers, indent=1))
                print(json.dumps(found), file=sys.stderr, flush=True)

    options.out.write_text(json.dumps(numbers, indent=1))
    print(", ".join(f"{name} {value}" for name, value in numbers["setup"].items()), end="\n\n")
    print("\n".join(table(results)))
    for failure in failures:
        print(f"\nFAILED {failure}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
