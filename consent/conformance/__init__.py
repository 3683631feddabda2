"""The hard cases of consent as data, and a runner that asks them of a service over HTTP alone, ours or another supplier's.

The cases stand in ``cases/``, one a file; ``pack.json`` says who asks in them and what was agreed. Nothing here knows the server: what is
not in its public interface cannot be asked for.
"""

from consent.conformance.read import CaseFault, Config, ConfigFault, Pack, read_config, read_pack
from consent.conformance.run import CaseResult, Report, run_pack
from consent.conformance.speak import NoAnswer

__all__ = [
    "CaseFault",
    "CaseResult",
    "Config",
    "ConfigFault",
    "NoAnswer",
    "Pack",
    "Report",
    "read_config",
    "read_pack",
    "run_pack",
]
