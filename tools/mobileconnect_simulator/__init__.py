"""A simulator of MobileConnect on this machine, for tests and demos. Never shipped.

`python -m tools.mobileconnect_simulator` runs it as a program, and `with Simulator() as simulator:`
in the process of a test.
"""

from tools.mobileconnect_simulator.state import Simulator

__all__ = ["Simulator"]
