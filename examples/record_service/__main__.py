"""Run the example record service on this machine."""

import os

from examples.record_service.app import from_environment

if __name__ == "__main__":
    from_environment().run(host="127.0.0.1", port=int(os.environ.get("PORT", "8090")))
