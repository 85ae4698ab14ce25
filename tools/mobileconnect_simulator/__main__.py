"""`python -m tools.mobileconnect_simulator`: run the simulator until SIGTERM or Ctrl-C."""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from tools.mobileconnect_simulator.http_server import Server
from tools.mobileconnect_simulator.routes import MobileConnect, Settings
from tools.mobileconnect_simulator.tokens import DEFAULT_SECONDS


def main() -> int:
    options = _parser().parse_args()
    settings = Settings(
        access_tokens=tuple(options.access_token),
        client_id=options.client_id,
        client_secret=options.client_secret,
        token_seconds=options.token_seconds,
        polls_per_status=options.polls_per_status,
    )
    try:
        asyncio.run(_serve(settings, options.port, options.ready_file))
    except OSError as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(settings: Settings, port: int, ready_file: Path | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = Server(MobileConnect(settings), port)
    url = await server.start()
    try:
        print(f"MobileConnect simulator: {url}", flush=True)
        if ready_file is not None:
            _announce(ready_file, url)
        await stop.wait()
    finally:
        await server.stop()


def _announce(ready_file: Path, url: str) -> None:
    """Write the URL in one step, so that no reader sees an incomplete file."""
    unfinished = ready_file.with_name(f"{ready_file.name}.{os.getpid()}")
    unfinished.write_text(f"{url}\n", encoding="utf-8")
    unfinished.replace(ready_file)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.mobileconnect_simulator",
        description="Simulate MobileConnect on this machine; see the README.md in its folder.",
    )
    parser.add_argument(
        "--port", type=_port, default=0, help="port to listen on (default: 0, a free port)"
    )
    parser.add_argument(
        "--access-token",
        action="append",
        default=[],
        metavar="TOKEN",
        help="also accept this token, which never expires; can be repeated",
    )
    parser.add_argument("--client-id", help="the only client id that gets a token (default: any)")
    parser.add_argument("--client-secret", help="the only accepted client secret (default: any)")
    parser.add_argument(
        "--token-seconds",
        type=_from_one,
        default=DEFAULT_SECONDS,
        metavar="N",
        help=f"lifetime of an issued token (default: {DEFAULT_SECONDS})",
    )
    parser.add_argument(
        "--polls-per-status",
        type=_from_zero,
        default=1,
        metavar="N",
        help="polls that return the same status (default: 1); 0: Finished at once",
    )
    parser.add_argument(
        "--ready-file",
        type=Path,
        metavar="PATH",
        help="write the URL to this file when the simulator is ready",
    )
    return parser


def _port(text: str) -> int:
    return _within(text, 0, 65_535)


def _from_one(text: str) -> int:
    return _within(text, 1, 10**9)


def _from_zero(text: str) -> int:
    return _within(text, 0, 10**9)


def _within(text: str, least: int, most: int) -> int:
    value = int(text)
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"must be from {least} to {most}")
    return value


if __name__ == "__main__":
    sys.exit(main())
