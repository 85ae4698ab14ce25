"""The local stack: `python -m tools.local_stack up|down|status|env|demo|iam|tokens|build`."""

import argparse
import os
import signal
import sys
from types import FrameType

from tools.local_stack import ROOT, build, persistent_stack, token_soak
from tools.local_stack.stack import TOKEN_SECONDS, StartError

INTERRUPTED = 130
BROKEN_PIPE = 141
"""The exit code that a shell reports for a program that SIGPIPE ended."""
SHORT_LIFE = 60


def main() -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.local_stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the local stack, and leave it running")
    _add_token_seconds(up, TOKEN_SECONDS)
    up.add_argument(
        "--port",
        type=int,
        default=0,
        metavar="N",
        help="port of the API and AWS; the phone page has the next one (default: free ports)",
    )
    commands.add_parser("down", help="stop the local stack")
    commands.add_parser("status", help="show whether it is running, and its addresses")
    commands.add_parser("env", help="print its addresses and keys as shell variables")
    commands.add_parser(
        "demo", help="post every sample to a temporary stack, and check the results"
    )
    commands.add_parser(
        "iam", help="remove each permission of each role in turn, and check that a scenario fails"
    )
    tokens = commands.add_parser("tokens", help="post messages while access tokens expire")
    tokens.add_argument("--minutes", type=float, default=10, help="duration (default: 10)")
    _add_token_seconds(tokens, SHORT_LIFE)
    commands.add_parser("build", help="build the artefacts that the stack is deployed from")
    options = parser.parse_args()

    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # show progress in a pipe, too
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(options)
    except (StartError, build.BuildError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: all processes that were started have been stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of the output has ended, as `| head` does
        nowhere = os.open(os.devnull, os.O_WRONLY)  # otherwise Python fails again at exit
        os.dup2(nowhere, sys.stdout.fileno())
        os.dup2(nowhere, sys.stderr.fileno())
        return BROKEN_PIPE


def _run(options: argparse.Namespace) -> int:
    match options.command:
        case "up":
            persistent_stack.up(options.token_seconds, options.port)
        case "down":
            persistent_stack.down()
        case "status":
            return 0 if persistent_stack.status() else 1
        case "env":
            return 0 if persistent_stack.env() else 1
        case "build":
            build.artefacts(print)
            print(f"The build is up to date ({build.RESULT.relative_to(ROOT)}).")
        case "demo":
            # The demo imports the package smsrelay, which calculates the ids of messages.
            sys.path.append(str(ROOT / "layers" / "smsrelay"))
            from tools.local_stack import demo  # noqa: PLC0415 - needs the path above

            return demo.run()
        case "iam":
            from tools.local_stack import iam  # noqa: PLC0415 - other commands don't need it

            return iam.run()
        case "tokens":
            return token_soak.run(options.minutes, options.token_seconds)
    return 0


def _add_token_seconds(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument(
        "--token-seconds",
        type=int,
        default=default,
        metavar="N",
        help=f"lifetime of the simulator's access tokens (default: {default})",
    )


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
