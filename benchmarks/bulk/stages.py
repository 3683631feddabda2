"""What each stage of `mpi link FILE` costs: CPU, wall and the peak of memory, from Parquet, with the shipped model or a plain one.

    python benchmarks/bulk/stages.py --records 1000000
    python benchmarks/bulk/stages.py --file records.parquet --plain

The plain model has seven fields, seven blocking rules and one rival, strangers: what a model without histories or households would cost.
Making the sample is not counted; starting Python is, in the last line.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PLAIN_FIELDS = ("nhs_number", "given", "family", "birth_date", "gender", "address", "phone")
PLAIN_RULES = (
    "number", "given-birth-date", "family-birth-date", "names-birth-year-day", "postcode-birth-month", "postcode-given",
    "phone-birth-year",
)  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--records", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--file", type=Path, help="link this file instead of a new sample")
    options.add_argument("--plain", action="store_true")
    options.add_argument("--memory", default="4GB")
    options.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        answer = measure(chosen, chosen.file or sample_file(chosen, folder), folder)
    if chosen.json:
        print(json.dumps(answer))
        return
    print(
        f"{answer['records']} records, {answer['pairs']} pairs, {answer['persons']} persons; model {answer['model']['name']}, "
        f"{chosen.threads} threads"
    )
    print(f"{'':12}{'CPU s':>9}{'wall s':>9}{'peak MB so far':>16}")
    for stage, one in answer["stages"].items():
        print(f"{stage:12}{one['cpu_s']:>9.1f}{one['wall_s']:>9.1f}{one['peak_memory'] / 1e6:>16.0f}")
    print(f"{'whole run':12}{answer['whole']['cpu_s']:>9.1f}{'':9}{answer['whole']['peak_mb']:>16.0f}")


def sample_file(chosen: argparse.Namespace, folder: Path) -> Path:
    sys.path.insert(0, str(ROOT))
    import duckdb

    from mpi.sample import write_sample

    made = write_sample(folder, chosen.records, chosen.seed)
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT * FROM read_csv('{made.records_path}', all_varchar = true)) TO '{folder}/records.parquet' (FORMAT parquet)"
        ).fetchall()
    return folder / "records.parquet"


def measure(chosen: argparse.Namespace, file: Path, folder: Path) -> dict[str, Any]:
    command = [
        sys.executable,
        "-c",
        "import app; app.mpi_command()",
        "link",
        str(file.resolve()),
        "--out",
        str(folder / "out"),
        "--json",
    ]
    command += ["--memory", chosen.memory, "--threads", str(chosen.threads)]
    if chosen.plain:
        (folder / "plain.json").write_text(json.dumps(plain_model()), encoding="utf-8")
        command += ["--model", str(folder / "plain.json")]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "MPI_HOME": str(folder)}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    report: dict[str, Any] = json.loads(said)
    if process.returncode not in (0, 3):
        raise SystemExit(report.get("detail") or report.get("error"))
    return {
        **report,
        "whole": {
            "cpu_s": round(used.ru_utime + used.ru_stime, 2),
            "peak_mb": round(used.ru_maxrss * 1024 / 1e6, 1),
        },
    }


def plain_model() -> dict[str, Any]:
    """The shipped model cut down; its weights are then not those of a trained model, which costs nothing."""
    sys.path.insert(0, str(ROOT))
    from mpi.matching.model import DEFAULT_MODEL

    document: dict[str, Any] = json.loads(DEFAULT_MODEL.read_text(encoding="utf-8"))
    # Its allowances are those of five rivals.
    document.pop("sole", None)
    return {
        **document,
        "name": "plain",
        "rivals": {"stranger": document["rivals"]["stranger"]},
        "fields": {name: document["fields"][name] for name in PLAIN_FIELDS},
        "blocking": {rule: document["blocking"][rule] for rule in PLAIN_RULES},
    }


if __name__ == "__main__":
    main()
