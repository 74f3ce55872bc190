"""Threads: the same training with one as with several, to the bit from run to run."""

import functools
import multiprocessing
import os
import threading
import warnings

import numpy as np
import pytest
import threadpoolctl

import xpnet.numpy_backend
from xpnet import Adam, InputError, Network, TrainingDiverged, data, get_backend, train
from xpnet.team import Team


@pytest.fixture
def small_shares(monkeypatch):
    """Make every step, however small, worth all the threads there are."""
    monkeypatch.setattr(xpnet.numpy_backend, "_SHARE", 1)


def run(threads, m=50, batch_size=None, dtype="float64", epochs=5):
    circles = data.circles(m)
    backend = get_backend("numpy", threads=threads)
    net = Network([2, 8, 6, 1], ["relu", "tanh"], precision=dtype, backend=backend, random_state=1)
    history = train(
        net, circles.X, circles.y, optimizer=Adam(0.01), epochs=epochs, batch_size=batch_size
    )
    return history["loss"], net.theta


@pytest.mark.usefixtures("small_shares")
@pytest.mark.parametrize("threads", [2, 3, 4])
@pytest.mark.parametrize("batch_size", [None, 1, 2, 7, 49])
def test_several_threads_compute_what_one_does(threads, batch_size):
    losses, theta = run(1, batch_size=batch_size)
    split_losses, split_theta = run(threads, batch_size=batch_size)
    np.testing.assert_allclose(split_losses, losses, rtol=1e-12)
    np.testing.assert_allclose(split_theta, theta, rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("small_shares")
def test_equal_threads_give_equal_bits():
    first, second = (run(3, m=997, batch_size=100, dtype="float32") for _ in range(2))
    assert first[0] == second[0]
    np.testing.assert_array_equal(first[1], second[1])


def test_small_steps_stay_on_one_thread(monkeypatch):
    def fail(self, tasks, *arguments):
        assert len(tasks) == 1

    monkeypatch.setattr(Team, "run", fail)
    backend = get_backend("numpy", threads=4)
    assert backend.workers(1000) == 1
    assert backend.workers(10**9) == 4
    assert backend.workers(2 * xpnet.numpy_backend._SHARE) == 2


@pytest.mark.usefixtures("small_shares")
def test_divergence_is_found_and_warns_in_no_thread():
    circles = data.circles(50)
    net = Network([2, 8, 6, 1], "linear", backend=get_backend("numpy", threads=2), random_state=1)
    warnings.simplefilter("error")  # pytest takes this back
    with pytest.raises(TrainingDiverged):
        train(net, 1e6 * circles.X, circles.y, optimizer=Adam(1e30), epochs=60)
    assert np.isfinite(net.theta).all()


def test_blas_has_its_threads_back_afterwards():
    from threadpoolctl import threadpool_info

    def threads():
        return [p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"]

    backend, before = get_backend("numpy", threads=2), threads()
    with backend.splitting(2):
        assert set(threads()) == {1}
    assert threads() == before


def test_a_team_does_every_task_at_once():
    team, meeting = Team(), threading.Barrier(3, timeout=20)
    team.run([meeting.wait] * 3)  # each waits for the others
    assert not meeting.broken


@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_a_task_raises_is_raised_and_the_team_goes_on(place):
    team, did = Team(), []

    def fail():
        raise ZeroDivisionError("on purpose")

    tasks = [lambda: did.append(1)] * 3
    tasks[place] = fail
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        team.run(tasks)
    assert did == [1, 1]
    team.run([lambda: did.append(2)] * 3)
    assert did == [1, 1, 2, 2, 2]


def _in_a_child(team, queue):
    did = []
    team.run([lambda: did.append(1)] * 2)
    queue.put(did)


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork"
)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_team_survives_a_fork():
    team, context = Team(), multiprocessing.get_context("fork")
    team.run([int, int])
    queue = context.SimpleQueue()
    child = context.Process(target=_in_a_child, args=(team, queue))
    child.start()
    child.join(20)
    assert child.exitcode == 0
    assert queue.get() == [1, 1]


@pytest.mark.parametrize("threads", [0, -1, 10**6, 1.5, "two"])
def test_a_thread_count_out_of_range_is_named(threads):
    with pytest.raises(InputError, match="threads: expected an integer from 1 to"):
        get_backend("numpy", threads=threads)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinities")
def test_spreading_leaves_every_thread_all_its_cores():
    team, before, after = Team(), os.sched_getaffinity(0), []
    team.spread(3)
    team.run([lambda: after.append(os.sched_getaffinity(0))] * 3)
    assert after == [before] * 3


def test_threads_that_predict_at_once_leave_blas_as_it_was(small_shares, rng):
    """The limit on BLAS is of the process: the last one out takes it back, not the first."""
    X = rng.standard_normal((4000, 30)).astype("float32")
    nets = [Network([30, 64, 1], backend=get_backend("numpy", threads=2)) for _ in range(4)]
    before = get_backend("numpy").threads
    with threadpoolctl.threadpool_limits(2, "blas"):
        wanted = get_backend("numpy").threads
        callers = [
            threading.Thread(target=lambda net=net: [net.predict_proba(X) for _ in range(20)])
            for net in nets
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert get_backend("numpy").threads == wanted
        pools = threadpoolctl.threadpool_info()
        assert {p["num_threads"] for p in pools if p["user_api"] == "blas"} == {wanted}
    assert get_backend("numpy").threads == before


def test_two_callers_may_grow_one_team_at_once():
    for _ in range(50):
        team, done = Team(), []
        tasks = [functools.partial(done.append, 1)] * 4
        callers = [threading.Thread(target=team.run, args=(tasks,), daemon=True) for _ in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(10)
            assert not caller.is_alive()
        assert len(done) == 16
