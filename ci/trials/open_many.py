"""Opens the model files that its first argument lists, under limits, and says what came of each.

For each but the first it prints a line: ``refused``; ``same`` or ``other``, where all that it says
is what the first file says, or is not; or ``error`` and what was raised that should not have been.
The last line is the growth of its memory, in bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import h5py

from xpnet import ModelFileError
from xpnet.backend import get_backend
from xpnet.checkpoint import build_network, read_model
from xpnet.untrusted import Limits, apply_limits

MEMORY = 64 * 2**20


def main() -> None:
    """Open all files of the list."""
    backend = get_backend("numpy")
    first, *paths = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    h5py.is_hdf5(first)
    whole = fingerprint(first, backend)
    Path("/proc/self/clear_refs").write_text("5")  # or what imports once took would hide the rest
    before = peak()
    apply_limits(Limits(MEMORY, cpu=600))
    for path in paths:
        try:
            verdict = "same" if fingerprint(path, backend) == whole else "other"
        except ModelFileError:
            verdict = "refused"
        except Exception as error:
            verdict = f"error {type(error).__name__}: {error}"
        print(verdict.replace("\n", " "), flush=True)
    print("memory", peak() - before, flush=True)


def peak() -> int:
    """Return the most memory that this process has had; rusage would count its parent's too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def fingerprint(path: str, backend: object) -> dict[str, object]:
    """Open a model; return all that its file says, to the last bit."""
    arrays = read_model(path)
    build_network(path, arrays, backend)
    return {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.items()}


if __name__ == "__main__":
    main()
