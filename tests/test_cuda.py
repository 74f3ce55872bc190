"""What only a CUDA device can show: memory that runs out, a device that is lost, kills."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import CHOSEN, missing
from xpnet import Checkpoint, InputError, Network, OutOfMemory, resume, train
from xpnet import training as training_module

ROOT = Path(__file__).parents[1]
_reason = missing("cupy") if "cupy" in CHOSEN else "not asked for"
pytestmark = pytest.mark.skipif(_reason is not None, reason=f"backend cupy: {_reason}")

#: What a child process begins with: a run that any process can repeat.
BEGIN = """
import os, sys
import cupy
import numpy as np
from xpnet import BackendUnavailable, Checkpoint, DeviceLost, Network, resume, train

rng = np.random.default_rng(0)
X = rng.standard_normal((64, 4)).astype("f4")
y = X[:, 0] > 0
net = Network([4, 8, 1], dropout=0.2, backend="cupy", random_state=1)
options = {"optimizer": "adam", "epochs": 40, "batch_size": 16, "seed": 2}
"""


def child(program, *words, **options):
    paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    command = [sys.executable, "-c", BEGIN + program, *map(str, words)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen(command, env=environment, text=True, **options)


@pytest.fixture
def problem():
    names = {}
    exec(BEGIN, names)  # the same run in this process
    return names["net"], names["X"], names["y"], names["options"]


@pytest.fixture
def pool():
    """CuPy's pool, with little more than there is in use."""
    import cupy

    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    pool.set_limit(size=pool.used_bytes() + 2**28)
    yield pool
    pool.set_limit(size=0)


def test_memory_that_runs_out_is_explained_and_given_back(pool, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100_000, 64)).astype("f4")
    y, options = X[:, 0] > 0, {"optimizer": "adam", "epochs": 1}
    net = Network([64, 1024, 1024, 1], backend="cupy", random_state=0)
    with pytest.raises(InputError, match="expected rows that fit cupy:0's memory"):
        train(net, X, y, batch_size=50_000, **options)
    before = pool.used_bytes()
    monkeypatch.setattr(training_module, "check_memory", lambda *_: None)
    with pytest.raises(OutOfMemory, match=r"the activations of a batch .* batch_size=") as caught:
        train(net, X, y, batch_size=50_000, **options)
    assert pool.used_bytes() == before
    suggested = int(str(caught.value).rpartition("batch_size=")[2].replace(",", ""))
    assert len(train(net, X, y, batch_size=suggested, **options)["loss"]) == 1


LOSE = """
text = 'extern "C" __global__ void wrong(float* p) { p[1ull << 42] = 1.0f; }'
wrong = cupy.RawKernel(text, "wrong")

def lose(epoch):
    if epoch.number == 2:
        wrong((1,), (1,), (cupy.zeros(1, "f4"),))

try:
    train(net, X, y, callback=lose, checkpoint=sys.argv[1], **options)
except DeviceLost as error:
    print(error, *error.__notes__)
    try:
        net.predict(X)
    except DeviceLost:
        sys.stdout.flush()
        os._exit(7)
"""


def test_a_lost_device_is_named_and_its_last_checkpoint_opens_on_the_cpu(problem, tmp_path):
    net, X, y, options = problem
    with child(LOSE, tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as lost:
        said, complaint = lost.communicate()
    assert lost.returncode == 7, complaint
    assert "cupy:0: expected a device that answers; got: cu" in said
    last = max(tmp_path.glob("*.h5"))
    assert f"the last checkpoint: {last}" in said
    assert last.name == "checkpoint-000001-000000.h5"

    def lose(_):
        pass

    with pytest.warns(RuntimeWarning, match="backend was cupy:0 and is numpy"):
        _, history = resume(tmp_path, X, y, callback=lose, backend="numpy")
    whole = train(net, X, y, **options)["loss"]
    np.testing.assert_allclose(history["loss"], whole, rtol=1e-3)


KILLED = """
checkpoint = Checkpoint(sys.argv[1], seconds=1e-9)
if any(name.endswith(".h5") for name in os.listdir(sys.argv[1])):
    resume(checkpoint, X, y)
else:
    train(net, X, y, checkpoint=checkpoint, **options)
"""


def test_a_run_that_is_killed_again_and_again_comes_to_the_same_bits(problem, tmp_path):
    chance = random.Random(0)
    for goal in (10, 40, 90):  # batches of 160
        with child(KILLED, tmp_path) as running:
            while _batches(tmp_path) < goal:
                assert running.poll() is None
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.01))
            running.send_signal(signal.SIGKILL)
        assert _batches(tmp_path) < 160
    net, X, y, options = problem
    history = train(net, X, y, **options)
    again, resumed = resume(Checkpoint(tmp_path), X, y)
    assert resumed == history
    assert again.theta.tobytes() == net.theta.tobytes()


def _batches(folder):
    names = [path.stem.split("-")[1:] for path in folder.glob("checkpoint-*.h5")]
    return max((4 * int(epoch) + int(batch) for epoch, batch in names), default=0)


FORKED = """
net.predict_proba(X)  # CUDA has begun
forked = os.fork()
if not forked:
    try:
        Network([2, 1], backend="cupy")
    except BackendUnavailable as error:
        os._exit(7 if "'spawn'" in str(error) else 2)
    os._exit(1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]))
"""


def test_a_forked_process_is_told_to_spawn():
    with child(FORKED) as forking:
        assert forking.wait() == 7
