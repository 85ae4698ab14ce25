"""The commands of the local stack: `python -m local up|down|status|demo|build`."""

import argparse
import signal
import sys
from types import FrameType

from local import ROOT, build, standing
from local.stack import StartError

INTERRUPTED = 130


def main() -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start the local stack, and leave it running")
    commands.add_parser("down", help="stop it")
    commands.add_parser("status", help="say whether it runs, and where")
    commands.add_parser("demo", help="post every sample to a stack of its own, and check the ends")
    commands.add_parser("build", help="build what the stack is deployed from")
    command = parser.parse_args().command

    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # progress, in a pipe too
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(command)
    except (StartError, build.BuildError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: everything that was started is stopped", file=sys.stderr)
        return INTERRUPTED


def _run(command: str) -> int:
    match command:
        case "up":
            standing.up()
        case "down":
            standing.down()
        case "status":
            return 0 if standing.status() else 1
        case "build":
            build.artefacts(print)
            print(f"The build is up to date ({build.RESULT.relative_to(ROOT)}).")
        case "demo":
            # The demo asks the package itself for ids of messages.
            sys.path.append(str(ROOT / "layers" / "smsrelay"))
            from local import demo  # noqa: PLC0415 - possible only now

            return demo.run()
    return 0


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
