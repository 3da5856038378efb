"""Model-epochs a second on the whole machine, every way side by side: `make bench` runs this.

python benchmarks/whole_machine.py [--rounds N] [--only WORD …] [--to FOLDER]

For each way, one process a core with one thread each, all started and warmed up before anything is timed.
Then in every round each way in turn trains one model-epoch in each of its processes at once, while all
others wait. So drifts of the machine's speed meet all ways alike; ratios are medians over rounds.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
NOTEBOOK, PRODUCTS = "notebook (DataLoader over PIL images)", "matrix products only"


class Member:
    """A process that trains one way, an epoch each time it is told to."""

    def __init__(self, way: str, core: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--be", way, "--core", str(core)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def go_on(self) -> None:
        self.stdin.write("go\n")
        self.stdin.flush()

    def hear(self) -> str:
        """What it says next: "done" after an epoch, else why there is none; "" when it has ended."""
        return self.stdout.readline().strip()


class Processes:
    """The processes of one way, each on a core of its own."""

    def __init__(self, way: str, cores: list[int]) -> None:
        self.way = way
        self.members = [Member(way, core) for core in cores]

    def ready(self) -> str | None:
        """Wait for the first epoch to be over; why there is none, where there is none."""
        said = [member.hear() for member in self.members]
        return next((line or "it ended without a word" for line in said if line != "done"), None)

    def epoch(self) -> float:
        """Seconds until every process has trained one more epoch."""
        began = time.perf_counter()
        for member in self.members:
            member.go_on()
        for member in self.members:
            assert member.hear() == "done", f"{self.way} ended"
        return time.perf_counter() - began

    def end(self) -> None:
        for member in self.members:
            member.process.kill()
            member.process.wait()


def be(way: str, core: int) -> None:
    """One of the processes of a way: after every epoch say so, and wait to be told to go on."""
    os.sched_setaffinity(0, {core})
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a framework prints must not get between

    def gate() -> None:
        print("done", file=out, flush=True)
        if not sys.stdin.readline():
            os._exit(0)

    from unvanish.data.fashion_mnist import fashion_mnist
    from unvanish.train.process import reproducible_process
    from ways import WAYS

    try:
        with reproducible_process():
            WAYS[way](fashion_mnist(), gate)
    except ImportError as error:
        print(f"not installed ({error.name})", file=out, flush=True)


def measure(names: list[str], rounds: int) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Seconds a round by way, and the ways that could not be measured with the reason."""
    cores = sorted(os.sched_getaffinity(0))
    running, missing = [], {}
    for name in names:
        print(f"  warming up: {name}", file=sys.stderr, flush=True)
        started = Processes(name, cores)
        if reason := started.ready():
            missing[name] = reason
            started.end()
        else:
            running.append(started)
    seconds: dict[str, list[float]] = {one.way: [] for one in running}
    for number in range(rounds):
        print(f"  round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for one in running:
            seconds[one.way].append(one.epoch())
    for one in running:
        one.end()
    return seconds, missing


def gemm_rates(cores: list[int]) -> list[float]:
    """GFLOP/s of each core, all at once."""
    script = "import work, torch; torch.set_num_threads(1); print(work.gemm_rate(3.0))"
    processes = [
        subprocess.Popen(["taskset", "-c", str(core), sys.executable, "-c", script], stdout=subprocess.PIPE, text=True,
                         env=os.environ | ONE_THREAD, cwd=HERE)
        for core in cores
    ]  # fmt: skip
    return [float(process.communicate()[0]) for process in processes]


def table(seconds: dict[str, list[float]], missing: dict[str, str], cores: int, rate: float, limit: float) -> str:
    lines = [
        f"{cores} cores, {rate:.0f} GFLOP/s together; the limit derived from it is {limit:.2f} model-epochs/s.",
        "",
        "| way | model-epochs/s, median (min–max) | times the notebook | of the matrix products |",
        "| --- | --- | --- | --- |",
    ]
    for way, taken in seconds.items():
        speeds = [cores / one for one in taken]
        ratios = []
        for reference in (NOTEBOOK, PRODUCTS):
            pairs = [theirs / mine for mine, theirs in zip(taken, seconds.get(reference, []), strict=False)]
            ratios.append(f"{statistics.median(pairs):.2f}" if pairs else "–")
        spread = f"{statistics.median(speeds):.2f} ({min(speeds):.2f}–{max(speeds):.2f})"
        lines.append(f"| {way} | {spread} | {' | '.join(ratios)} |")
    lines += [f"| {way} | {reason} | – | – |" for way, reason in missing.items()]
    return "\n".join(lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--only", nargs="+", default=[], metavar="WORD", help="ways whose name has one of these")
    arguments.add_argument("--to", type=Path, default=Path("build/bench"), help="where the JSON and the table go")
    arguments.add_argument("--be", help=argparse.SUPPRESS)
    arguments.add_argument("--core", type=int, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.be:
        be(options.be, options.core)
        return
    from ways import WAYS
    from work import flop_per_epoch

    names = [name for name in WAYS if not options.only or any(word in name for word in options.only)]
    cores = sorted(os.sched_getaffinity(0))
    rates = gemm_rates(cores)
    limit = sum(rates) * 1e9 / flop_per_epoch()
    seconds, missing = measure(names, options.rounds)
    text = table(seconds, missing, len(cores), sum(rates), limit)
    print(text)
    options.to.mkdir(parents=True, exist_ok=True)
    (options.to / "whole_machine.md").write_text(text + "\n")
    facts = {
        "python": platform.python_version(), "cores": len(cores), "gflops": rates, "limit": limit,
        "seconds": seconds, "missing": missing,
    }  # fmt: skip
    (options.to / "whole_machine.json").write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
