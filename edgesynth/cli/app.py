"""The ``edgesynth`` command: verbs in, exit codes out.

    0    done
    1    finished, but the requirements were not met
    2    bad usage or bad input
    3    the device failed
    130  interrupted; a synthesis can be resumed; 143 and 129 where SIGTERM or SIGHUP did it

Results go to stdout, progress and errors to stderr.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from typer.exceptions import TyperException

from edgesynth import __version__
from edgesynth.cli import bench, deploy, devices, export, generate, init, inspect, report, run, synth
from edgesynth.cli.interruption import Interruption
from edgesynth.errors import EdgesynthError, InputError

__all__ = ["INTERNAL_ERROR", "INTERRUPTED", "app", "main"]

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C: 128 + SIGINT."""

INTERNAL_ERROR: Final = 70
"""Exit code after an error that is ours: EX_SOFTWARE of sysexits.h."""

_DEBUG: Final = "EDGESYNTH_DEBUG"

app = typer.Typer(
    name="edgesynth",
    help="Learn generators of efficient neural networks for NVIDIA Jetson, with the device in the loop.",
    epilog="Exit codes: 0 done, 1 requirements not met, 2 bad usage or input, 3 device failure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _verb in (
    synth.synth,
    generate.generate,
    export.export,
    deploy.deploy,
    run.run,
    inspect.inspect,
    report.report,
    bench.bench,
    init.init,
):
    app.command()(_verb)
app.add_typer(devices.app, name="devices")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgesynth {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    *,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    del version  # its callback has acted on it
    context.find_root().obj.verb = context.invoked_subcommand or ""
    if debug:
        os.environ[_DEBUG] = "1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and say how it went.

    Args:
        arguments: What follows ``edgesynth`` on the command line; ``sys.argv`` by default.

    Returns:
        The exit code.
    """
    # Threads that spin while they wait take the processor from those they wait for, where others want it too.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that lacks a character gets a question mark instead of a traceback.
            stream.reconfigure(errors="replace")
    with Interruption() as interruption:
        try:
            code = app(
                args=list(sys.argv[1:] if arguments is None else arguments),
                prog_name="edgesynth",
                standalone_mode=False,
                obj=interruption,
            )
            sys.stdout.flush()
        except (KeyboardInterrupt, typer.Abort):
            code = INTERRUPTED
        except Exception as error:
            # Whatever fails while an interrupted command tidies up is not why it ended.
            code = INTERRUPTED if interruption.came else _explain(error)
        if code == INTERRUPTED:  # typer has turned the Ctrl-C of a command into its exit code already
            _say(interruption.says)
            return interruption.exit_code
    return code if isinstance(code, int) else 0


def _explain(error: Exception) -> int:
    """Say what went wrong; returns the exit code."""
    if isinstance(error, EdgesynthError):
        return _fail(error, error.exit_code)
    if isinstance(error, TyperException):
        # Usage errors know their command and print its usage line themselves.
        show = getattr(error, "show", None)
        show() if show else _say(str(error))
        return 2
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has gone; Python would complain once more while shutting down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return _unexpected(error)  # the last line of defence: our own faults are kept, not shown


def _fail(error: EdgesynthError, code: int) -> int:
    if os.environ.get(_DEBUG):
        traceback.print_exception(error)
    else:
        _say(str(error))
    return code


def _unexpected(error: Exception) -> int:
    if os.environ.get(_DEBUG):
        traceback.print_exception(error)
        return INTERNAL_ERROR
    from edgesynth.job.reference import users_fault

    first = str(error).splitlines()[0] if str(error) else "no message"
    try:
        handle, name = tempfile.mkstemp(prefix="edgesynth-", suffix=".traceback.txt")
        with os.fdopen(handle, "w") as file:
            traceback.print_exception(error, file=file)
        where = f"the traceback is in {Path(name)}"
    except OSError:
        where = "run `edgesynth --debug ...` for the traceback"
    theirs = users_fault(error)
    if theirs:
        _say(f"code of yours raised {theirs}; {where}")
        return InputError.exit_code
    _say(f"this is a fault of edgesynth: {type(error).__name__}: {first}; {where}")
    return INTERNAL_ERROR


def _say(text: str) -> None:
    for line in text.splitlines() or [""]:
        sys.stderr.write(f"edgesynth: {line}\n")
