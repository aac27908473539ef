"""greenhaul-decode: JT/T 808 frames to JSON, or to a table field by field."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import cast

from greenhaul_protocols.decode import Answer, Decoder, explanation
from greenhaul_protocols.jt808.declaration import REVISIONS

# One line of a log; a longer one is read in pieces.
LINE_SIZE_MAX = 1024 * 1024
_CHUNK_SIZE = 64 * 1024

_EPILOG = """examples:
  greenhaul-decode 7e0002000001391234567800017e
  greenhaul-decode --explain 7e0200...7e
  greenhaul-decode --jsonl < terminal.log          hex, one frame a line, or a log around it
  greenhaul-decode --raw capture.bin --jsonl       a binary stream

exit: 0 every frame was decoded, 1 one was not (or there was none), 2 wrong arguments
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # JSON is, whatever the locale says
    decoder = Decoder(revision=options.revision)
    is_well = found = False
    try:
        for answer in _answers(decoder, options):
            is_well = answer.is_ok and (is_well or not found)
            found = True
            print(_shown(answer, options), flush=True)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            # The reader has seen enough (`… | head`); stdout is closed, nothing may flush to it.
            sys.stdout = None
            return 0
        print(f"greenhaul-decode: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if not found:
        print("greenhaul-decode: no frame in the input", file=sys.stderr)
    return 0 if is_well else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="greenhaul-decode",
        description="Say what frames mean: as JSON, or field by field with --explain.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("hex", nargs="*", metavar="HEX", help="a frame; none: read standard input")
    parser.add_argument("--protocol", choices=["jt808"], default="jt808")
    parser.add_argument(
        "--revision",
        type=int,
        choices=REVISIONS,
        help="edition where the frame alone does not tell (default: 2013, or what it tells)",
    )
    parser.add_argument("--raw", metavar="FILE", help="read a binary stream (- for standard input)")
    parser.add_argument("--jsonl", action="store_true", help="one JSON object a line")
    parser.add_argument("--explain", action="store_true", help="a table, field by field")
    return parser


def _answers(decoder: Decoder, options: argparse.Namespace) -> Iterator[Answer]:
    if options.hex:
        for number, text in enumerate(options.hex, start=1):
            yield from decoder.argument(number, text)
    else:
        with _input(options.raw) as stream:
            if options.raw or _is_binary(stream):
                yield from decoder.stream(iter(lambda: stream.read1(_CHUNK_SIZE), b""))
            else:
                lines = iter(lambda: stream.readline(LINE_SIZE_MAX), b"")
                for number, line in enumerate(lines, start=1):
                    yield from decoder.line(number, line.decode(errors="replace"))
    yield from decoder.close()


def _input(path: str | None) -> AbstractContextManager[BufferedReader]:
    if path and path != "-":
        return Path(path).open("rb")
    return nullcontext(cast(BufferedReader, sys.stdin.buffer))


def _is_binary(stream: BufferedReader) -> bool:
    """Whether the input begins with bytes no text has."""
    head = stream.peek(1024)[:1024]
    return any(byte < 0x09 or 0x0D < byte < 0x20 for byte in head)


def _shown(answer: Answer, options: argparse.Namespace) -> str:
    if options.explain:
        return explanation(answer) + "\n"
    indent = None if options.jsonl else 2
    return json.dumps(answer.json, ensure_ascii=False, indent=indent)


if __name__ == "__main__":
    sys.exit(main())
