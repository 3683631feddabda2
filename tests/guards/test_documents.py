"""What readers are shown: scripts that start, and pictures and pages that say what the code says."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_no_script_hides_a_module_of_the_standard_library():
    # `python examples/demo.py` puts examples/ first on the path: a token.py there would be imported for the standard one.
    scripts = {path.stem for folder in ("examples", "benchmarks") for path in (ROOT / folder).glob("*.py")}

    assert {"demo", "load"} <= scripts
    assert scripts & set(sys.stdlib_module_names) == set()
