"""The agent's package with its bytecode beside its sources, so that one Python starts it in half the time.

A test starts the agent often, and every start begins by compiling each of its modules anew, as nothing is
kept beside a zip file. Other Pythons find bytecode that is none of theirs and read the sources.
"""

import functools
import subprocess

# Runs under Python 3.6, whose bytecode has no word of flags.
_PROGRAM = """
import importlib.util, io, marshal, struct, sys, time, zipfile
source, made = zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read())), io.BytesIO()
flags = b"" if sys.version_info < (3, 7) else bytes(4)
with zipfile.ZipFile(made, "w") as target:
    for entry in source.infolist():
        text = source.read(entry)
        target.writestr(entry, text)
        date = int(time.mktime(entry.date_time + (-1, -1, -1))) & 0xFFFFFFFF
        head = importlib.util.MAGIC_NUMBER + flags + struct.pack("<II", date, len(text))
        code = compile(text, entry.filename, "exec", dont_inherit=True)
        target.writestr(zipfile.ZipInfo(entry.filename + "c", entry.date_time), head + marshal.dumps(code))
sys.stdout.buffer.write(made.getvalue())
"""


@functools.cache
def quick_agent(package: bytes, python: str) -> bytes:
    """The same package for this interpreter, given by its path."""
    return subprocess.run([python, "-c", _PROGRAM], input=package, capture_output=True, check=True).stdout
