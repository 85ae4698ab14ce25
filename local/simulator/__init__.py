"""A MobileConnect that runs on this machine, for tests and demos. Never shipped.

`python -m local.simulator` runs it alone; `with Simulator() as simulator:` runs it in process.
"""

from local.simulator.simulator import Simulator

__all__ = ["Simulator"]
