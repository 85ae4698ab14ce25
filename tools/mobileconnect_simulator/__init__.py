"""A MobileConnect that runs on this machine, for tests and demos. Never shipped.

`python -m tools.mobileconnect_simulator` runs it alone; `with Simulator() as simulator:` runs it in
process.
"""

from tools.mobileconnect_simulator.state import Simulator

__all__ = ["Simulator"]
