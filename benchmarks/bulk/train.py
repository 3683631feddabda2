"""What each step of `mpi train FILE` costs, from Parquet and without labels, beside `mpi link` of the same file.

    python benchmarks/bulk/train.py --records 1000000
    python benchmarks/bulk/train.py --file records.parquet --without-linking

Training normalises, blocks and compares as linking does, with a model that knows nothing yet; the other steps are its own. Each run is a
process of its own; making the sample is not counted, starting Python is, in the last line.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
AS_LINKING = ("normalising", "blocking", "comparing candidate pairs")


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--records", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=1, help="of the sample")
    options.add_argument("--file", type=Path, help="train on this file instead of a new sample")
    options.add_argument("--out", type=Path, help="keep the model here")
    options.add_argument("--memory", default="4GB")
    options.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options.add_argument("--without-linking", action="store_true")
    options.add_argument("--json", action="store_true")
    options.add_argument("--only-train", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.only_train:
        print(json.dumps(trained(chosen)))
        return
    import stages

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = chosen.file or stages.sample_file(chosen, folder)
        answer = measured(chosen, file)
        if not chosen.without_linking:
            chosen.plain = False
            linked = stages.measure(chosen, file, folder)
            answer["linking"] = {stage: one["cpu_s"] for stage, one in linked["stages"].items()}
    if chosen.json:
        print(json.dumps(answer))
        return
    print(
        f"{answer['records']} records, {answer['candidate_pairs']} candidate and {answer['random_pairs']} random pairs, "
        f"{answer['patterns']} patterns, {answer['rounds']} rounds; {chosen.threads} threads"
    )
    print(f"{'':28}{'CPU s':>9}{'of it user':>12}{'wall s':>9}{'peak MB so far':>16}")
    for step, one in answer["steps"].items():
        mark = "" if step in AS_LINKING else " *"
        print(
            f"{step + mark:28}{one['cpu_s']:>9.1f}{one['user_s']:>12.1f}{one['wall_s']:>9.1f}{one['peak_mb']:>16.0f}"
        )
    whole = answer["whole"]
    print(f"{'whole run':28}{whole['cpu_s']:>9.1f}{whole['user_s']:>12.1f}{'':9}{whole['peak_mb']:>16.0f}")
    own = sum(one["cpu_s"] for step, one in answer["steps"].items() if step not in AS_LINKING)
    print(f"* training's own: {own:.1f} CPU s")
    if "linking" in answer:
        stages_of = ("normalise", "block", "score", "partition")
        base = sum(answer["linking"][stage] for stage in stages_of)
        print(
            f"mpi link, {' + '.join(stages_of)}: {base:.1f} CPU s; training as a whole: {whole['cpu_s'] - base:+.1f}"
        )


def measured(chosen: argparse.Namespace, file: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--only-train", "--file", str(file.resolve())]
    command += ["--memory", chosen.memory, "--threads", str(chosen.threads)]
    command += ["--out", str(chosen.out.resolve())] if chosen.out else []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    answer: dict[str, Any] = json.loads(said)
    answer["whole"] = {
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "user_s": round(used.ru_utime, 2),
        "peak_mb": round(used.ru_maxrss / 1e3, 1),
    }
    return answer


def trained(chosen: argparse.Namespace) -> dict[str, Any]:
    """Train in this process, and read the clocks at each step that is told."""
    import resource

    from foundation.clock import SystemClock
    from mpi.bulk.gather import Files
    from mpi.cli import _bytes
    from mpi.feeds.delimited import columns_of, row_reader
    from mpi.training import train

    marks: list[tuple[str, float, float, float, float]] = []

    def tell(step: str) -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        marks.append(
            (step, used.ru_utime + used.ru_stime, used.ru_utime, time.perf_counter(), used.ru_maxrss / 1e3)
        )

    today = SystemClock().now().date()
    source = Files(
        (chosen.file,),
        lambda header: columns_of(header, None),
        row_reader(today),
        today,
        memory=_bytes(chosen.memory),
        threads=chosen.threads,
    )
    found = train(source, name="measured", seed=1, tell=tell)
    tell("end")
    if chosen.out:
        found.write(chosen.out)
    steps = {
        one[0]: {
            "cpu_s": round(after[1] - one[1], 2),
            "user_s": round(after[2] - one[2], 2),
            "wall_s": round(after[3] - one[3], 2),
            "peak_mb": round(after[4], 1),
        }
        for one, after in zip(marks, marks[1:], strict=False)
    }
    told = (
        "records",
        "candidate_pairs",
        "random_pairs",
        "patterns",
        "rounds",
        "pairs_of",
        "thresholds",
        "expected_precision",
    )
    return {**{name: found.report[name] for name in told}, "steps": steps}


if __name__ == "__main__":
    main()
