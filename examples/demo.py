"""Tell the story of one woman's records with readable output: make demo. DATABASE_URL and REDIS_URL choose other stores than SQLite."""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from examples.journey import tell
from examples.world import open_world


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mpi-demo-") as folder:
        print("Setting up an empty index, its clients and its people …", flush=True)
        with open_world(Path(folder)) as world:
            tell(world)
    print("\nEverything in this story was made up, and is gone again.")


if __name__ == "__main__":
    main()
