"""Which backend is chosen, what its two doors let through, and that compiling changes no number."""

import decimal
import inspect
import itertools
import logging
import pickle
import subprocess
import sys
import tracemalloc
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.counting_double import CountingDouble
from xpnet import BackendUnavailable, InputError, Network, available_backends, get_backend, train
from xpnet import formulas as formulas_module
from xpnet import rules as rules_module
from xpnet.activations import ACTIVATIONS
from xpnet.arrays import array_namespace, is_on_host
from xpnet.backend import Backend, CupyBackend, NumpyBackend
from xpnet.compiler import TILE, Compiler, generate
from xpnet.formulas import Formula, sigmoid
from xpnet.losses import LOSSES
from xpnet.optimizers import OPTIMIZERS, SGD

logistic = LOSSES["logistic"].both
DTYPES = ("float32", "float64")
CPU, CUDA = 1, 2  # DLPack's device types


def refuses(error, *words):
    """Expect *error* with all *words* in its message."""
    return pytest.raises(error, match="".join(f"(?=.*{word})" for word in words))


# --- names ----------------------------------------------------------------------------------------


@pytest.fixture
def no_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # its import is a ModuleNotFoundError


@pytest.fixture
def install(monkeypatch):
    """Make ``import cupy`` find this module."""

    def install(module):
        monkeypatch.setitem(sys.modules, "cupy", module)
        return module

    return install


def cupy_that(device_count, get_cublas_handle=lambda: 1):
    """A stand-in for the module ``cupy``, as much of it as choosing a backend looks at."""
    return SimpleNamespace(
        __version__="14.2.0",
        cuda=SimpleNamespace(
            Device=lambda index: index,
            device=SimpleNamespace(get_cublas_handle=get_cublas_handle),
            runtime=SimpleNamespace(
                getDeviceCount=device_count,
                getDeviceProperties=lambda index: {"name": f"stand-in {index}".encode()},
            ),
        ),
    )


def raising(error):
    def function():
        raise error

    return function


def test_numpy_is_chosen_by_name():
    backend = get_backend("numpy")
    assert (type(backend), backend.name, backend.xp) == (NumpyBackend, "numpy", np)
    assert backend.device_name == f"NumPy {np.__version__} on the CPU"
    assert repr(backend) == f"<backend numpy: {backend.device_name}>"
    assert get_backend(backend) is backend


@pytest.mark.parametrize(
    ("asked", "index"),
    [("cupy", 0), ("cupy:0", 0), ("cupy:1", 1)],
    ids=["first", "zeroth", "second"],
)
def test_cupy_is_chosen_with_its_device(install, asked, index):
    cupy = install(CountingDouble(devices=2))
    backend = get_backend(asked)
    assert (type(backend), backend.name, backend.xp) == (CupyBackend, f"cupy:{index}", cupy)
    assert backend.device_name == f"CuPy 14.2.0 on counting double {index}"
    with backend:
        assert cupy.cuda.runtime.getDevice() == index
        assert cupy.zeros(3).device.id == index
    assert cupy.cuda.runtime.getDevice() == 0
    assert backend.asarray([1.0, 2.0]).device.id == index


@pytest.mark.parametrize(
    "name", ["Numpy", "cuda", "cupy:", "cupy:-1", "cupy:x", "cupy:1 ", "", None, 0, np]
)
def test_unknown_names_are_refused_with_the_known(name):
    with refuses(InputError, "backend: expected one of auto, cupy, cupy:N, numpy; got"):
        get_backend(name)


def test_auto_takes_cupy_where_a_device_answers(install, caplog):
    install(CountingDouble())
    with caplog.at_level(logging.INFO, "xpnet"):
        assert get_backend("auto").name == "cupy:0"
    assert caplog.messages == ["backend 'auto' chose cupy:0: CuPy 14.2.0 on counting double 0"]


def test_auto_takes_numpy_elsewhere_and_logs_why(no_cupy, caplog):
    with caplog.at_level(logging.INFO, "xpnet"):
        assert get_backend().name == "numpy"
    (message,) = caplog.messages
    assert message.startswith("backend 'auto' chose numpy: backend 'cupy' needs CuPy, which is not")


def test_environment_decides_for_auto_alone(install, monkeypatch):
    install(CountingDouble(devices=2))
    for value, name in (
        ("numpy", "numpy"),
        (" cupy:1 ", "cupy:1"),
        ("auto", "cupy:0"),
        ("", "cupy:0"),
    ):
        monkeypatch.setenv("XPNET_BACKEND", value)
        assert get_backend("auto").name == name
        assert Network([2, 1]).backend.name == name
        assert get_backend("cupy").name == "cupy:0"
        assert get_backend("numpy").name == "numpy"


def test_environment_is_no_wish_but_an_order(no_cupy, monkeypatch):
    monkeypatch.setenv("XPNET_BACKEND", "cupy")
    with refuses(BackendUnavailable, "not installed"):
        get_backend("auto")
    monkeypatch.setenv("XPNET_BACKEND", "cuda")
    with refuses(
        InputError, "XPNET_BACKEND: expected one of auto, cupy, cupy:N, numpy; got 'cuda'"
    ):
        get_backend("auto")


# --- what is missing ------------------------------------------------------------------------------

_HINT = ("cuda13x", "cuda12x", "or use backend='numpy'")


def test_cupy_missing(no_cupy):
    with refuses(BackendUnavailable, "needs CuPy, which is not installed", *_HINT):
        get_backend("cupy")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise ImportError('libnvrtc.so.13: no such file')", "libnvrtc.so.13: no such file"),
        (
            "import a_part_of_cupy_that_is_missing",
            "No module named 'a_part_of_cupy_that_is_missing'",
        ),
    ],
)
def test_cupy_broken(tmp_path, monkeypatch, source, words):
    (tmp_path / "cupy").mkdir()
    (tmp_path / "cupy" / "__init__.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    with refuses(
        BackendUnavailable, "installed but does not import", words, "reinstall it", *_HINT
    ):
        get_backend("cupy")
    assert get_backend("auto").name == "numpy"


def test_driver_missing(install):
    old = RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
    install(cupy_that(raising(old)))
    words = (
        "found CuPy 14.2.0, but no NVIDIA driver",
        "cudaErrorInsufficientDriver",
        "update the driver",
    )
    with refuses(BackendUnavailable, *words, _HINT[-1]):
        get_backend("cupy")


@pytest.mark.parametrize(
    "count",
    [raising(RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")), lambda: 0],
)
def test_device_missing(install, monkeypatch, count):
    install(cupy_that(count))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    words = (
        "found CuPy 14.2.0 and a driver, but no CUDA device",
        "nvidia-smi",
        "now '-1'",
        _HINT[-1],
    )
    with refuses(BackendUnavailable, *words):
        get_backend("cupy")


def test_cuda_libraries_missing(install):
    install(cupy_that(lambda: 1, raising(ImportError("libcublas.so.13: cannot open"))))
    words = ("and a device, but not NVIDIA's libraries", "libcublas.so.13: cannot open", *_HINT)
    with refuses(BackendUnavailable, *words):
        get_backend("cupy")


def test_a_device_that_does_not_answer(install):
    forked = RuntimeError("cudaErrorInitializationError: initialization error")
    install(cupy_that(lambda: 1, raising(forked)))
    words = ("and a device, which does not answer", str(forked), "'spawn'", _HINT[-1])
    with refuses(BackendUnavailable, *words):
        get_backend("cupy")
    assert get_backend("auto").name == "numpy"


def test_device_out_of_range(install):
    install(CountingDouble(devices=2))
    words = ("backend 'cupy:2': this machine has 2 CUDA", "numbered from 0", "use backend='cupy:0'")
    with refuses(BackendUnavailable, *words):
        get_backend("cupy:2")


def test_an_unavailable_backend_is_an_import_error_and_stops_before_any_work(no_cupy):
    with pytest.raises(ImportError):
        Network([2, 1], backend="cupy")


def test_all_backends_are_listed_with_their_faults(install):
    install(CountingDouble(devices=2))
    assert {k: v.name for k, v in available_backends().items()} == {
        name: name for name in ("numpy", "cupy:0", "cupy:1")
    }
    install(None)
    found = available_backends()
    assert set(found) == {"numpy", "cupy"}
    assert isinstance(found["cupy"], BackendUnavailable)
    assert "not installed" in str(found["cupy"])


def test_import_loads_no_heavy_library():
    heavy = ["cupy", "sklearn", "matplotlib", "h5py", "scipy", "PIL", "rich", "click", "numba"]
    script = (
        "import sys, xpnet\n"
        "dir(xpnet); xpnet.Network; xpnet.train; xpnet.Adam; xpnet.get_backend('numpy')\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_backends_pickle_by_name(install):
    install(CountingDouble(devices=2))
    for name in ("numpy", "cupy:1"):
        copied = pickle.loads(pickle.dumps(get_backend(name)))
        assert (copied.name, type(copied)) == (name, type(get_backend(name)))


def test_subclasses_keep_the_signatures():
    for kind in (NumpyBackend, CupyBackend):
        for name, method in inspect.getmembers(Backend, inspect.isfunction):
            if not name.startswith("_"):
                theirs = inspect.signature(getattr(kind, name)).parameters
                assert list(theirs) == list(inspect.signature(method).parameters), name


# --- the door in ----------------------------------------------------------------------------------


class Frame:
    """What of a DataFrame a conversion uses."""

    def __init__(self, values):
        self.values = values
        self.columns = [f"column {i}" for i in range(values.shape[1])]

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype, copy=copy)


class Foreign:
    """Another library's array on DLPack device (*kind*, *index*); its bytes lie on the host."""

    def __init__(self, values, kind=CUDA, index=0, exports=True):
        self.values, self.device, self.exports = values, (kind, index), exports
        self.asked = []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        self.asked.append(dl_device)
        if dl_device == (CPU, 0) and not self.exports:
            raise BufferError("this library moves nothing to the host")
        return self.values.__dlpack__(max_version=max_version)


def rows(dtype="float32"):
    return np.arange(12).reshape(4, 3).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_c_ordered_rows_of_the_dtype_are_not_copied(dtype):
    X, backend = rows(dtype), get_backend("numpy")
    for asked in (dtype, np.dtype(dtype), None):
        assert np.shares_memory(backend.asarray(X, asked), X)
    assert np.shares_memory(backend.asarray(X[1:3]), X)
    assert np.shares_memory(Network([3, 1], precision=dtype, backend=backend).columns(X), X)


ONCE = {
    "float64": lambda: rows("float64"),
    "integers": lambda: rows("int64"),
    "uint8": lambda: rows("uint8"),
    "booleans": lambda: rows("bool"),
    "big-endian": lambda: rows(">f4"),
    "float16": lambda: rows("float16"),
    "F-ordered": lambda: np.asfortranarray(rows()),
    "F-ordered float64": lambda: np.asfortranarray(rows("float64")),
    "every other row": lambda: np.repeat(rows(), 2, axis=0)[::2],
    "every other column": lambda: np.repeat(rows(), 2, axis=1)[:, ::2],
    "reversed": lambda: rows()[::-1].copy()[::-1],
    "list": lambda: rows().tolist(),
    "list of arrays": lambda: list(rows()),
    "frame": lambda: Frame(rows("float64")),
}


@pytest.mark.parametrize("X", ONCE.values(), ids=ONCE)
def test_other_rows_arrive_converted_and_c_ordered(backend, X):
    X = X()
    before = np.array(X.values if isinstance(X, Frame) else X)
    arrived = backend.asarray(X, "float32")
    assert arrived.dtype == np.float32
    assert arrived.dtype.isnative
    assert arrived.flags.c_contiguous
    np.testing.assert_array_equal(backend.to_host(arrived), before.astype("float32"))
    if isinstance(X, np.ndarray):
        assert not (backend.xp is np and np.shares_memory(arrived, X))
        np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize(
    "X", ["float64", "big-endian", "F-ordered", "F-ordered float64", "every other column"]
)
def test_one_copy_is_made_and_not_two(X):
    source, backend = np.asfortranarray(np.zeros((1000, 300))), get_backend("numpy")
    source = {
        "float64": np.zeros((1000, 300)),
        "big-endian": np.zeros((1000, 300), ">f4"),
        "F-ordered": np.zeros((300, 1000), "f4").T,
        "F-ordered float64": np.zeros((300, 1000)).T,
        "every other column": np.zeros((1000, 600), "f4")[:, ::2],
    }[X]
    tracemalloc.start()
    arrived = backend.asarray(source, "float32")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert arrived.nbytes <= peak < 1.2 * arrived.nbytes


def test_the_dtype_stays_where_none_is_asked(backend):
    for dtype in ("uint8", "int64", "float64", "bool"):
        assert backend.asarray(rows(dtype)).dtype == dtype
        assert backend.asarray(backend.asarray(rows(dtype))).dtype == dtype


def test_the_devices_own_arrays_stay_where_they_are(double):
    X = double.asarray(rows())
    before = double.xp.counts.snapshot()
    assert double.asarray(X, "float32") is X
    assert double.xp.counts - before == type(before)()
    turned = double.asarray(X.T)
    spent = double.xp.counts - before
    assert turned.flags.c_contiguous
    assert (spent.allocations, spent.transfers) == (1, 0)
    np.testing.assert_array_equal(double.to_host(turned), rows().T)


def test_one_transfer_brings_host_rows_to_the_device(double):
    for X in (rows(), rows("float64"), np.asfortranarray(rows()), rows().tolist(), Frame(rows())):
        before = double.xp.counts.snapshot()
        double.asarray(X, "float32")
        spent = double.xp.counts - before
        assert (spent.transfers, spent.allocations, spent.syncs) == (1, 1, 0)


NO_NUMBERS = {
    "objects": (np.array([[1.0, None]], dtype=object), "dtype object"),
    "numbers as objects": (np.array([[1.0, 2.0]], dtype=object), "dtype object"),
    "complex": (np.ones((1, 2), "complex64"), "dtype complex64"),
    "text": (np.array([["1", "2"]]), "dtype <U1"),
    "a list of text": ([["1", "2"]], "dtype <U1"),
    "bytes": (np.array([[b"1", b"2"]]), "dtype .S1"),
    "dates": (np.array([["2020-01-01", "2020-01-02"]], "M8[D]"), r"dtype datetime64.D."),
    "records": (np.zeros((1, 2), [("a", "f4")]), "dtype .*a"),
}


@pytest.mark.parametrize(("X", "words"), NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_what_holds_no_numbers_is_refused(backend, X, words):
    net, words = (
        Network([2, 1], backend=backend),
        ("expected numbers; got " + words, "encode or convert"),
    )
    theta = backend.to_host(net.theta).copy()
    for act in (
        lambda: backend.asarray(X, "float32"),
        lambda: net.predict(X),
        lambda: net.set_parameters({"W1": X}),
        lambda: train(net, list(X) * 2, [0, 1], optimizer=SGD(), epochs=1),
    ):
        with refuses(InputError, *words):
            act()
    np.testing.assert_array_equal(backend.to_host(net.theta), theta)


def test_complex_device_arrays_are_refused(double):
    X = double.xp._new(np.ones((2, 2), "complex64"))
    with refuses(InputError, "expected numbers; got dtype complex64; encode or convert"):
        double.asarray(X, "float32")


def test_ragged_lists_are_refused(backend):
    with refuses(InputError, "expected an array, or rows of one length; got", "inhomogeneous"):
        backend.asarray([[1.0, 2.0], [3.0]])


# --- DLPack ---------------------------------------------------------------------------------------


def test_torch_tensors_come_in_without_a_copy():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    tensor, backend = torch.arange(12.0).reshape(4, 3), get_backend("numpy")
    X = backend.asarray(tensor, "float32")
    assert X.ctypes.data == tensor.data_ptr()
    assert Network([3, 1], backend=backend).columns(tensor).ctypes.data == tensor.data_ptr()
    turned = backend.asarray(tensor.T, "float32")
    assert turned.flags.c_contiguous
    np.testing.assert_array_equal(turned, tensor.T.tolist())
    assert backend.asarray(tensor.double(), "float32").dtype == np.float32
    with refuses(
        InputError, "torch.Tensor", "could not be read on the host", "grad", "move it to the CPU"
    ):
        backend.asarray(tensor.requires_grad_(), "float32")


def test_torch_tensors_train_and_predict(backend):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    X, y = (
        torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 2.0], [2.0, 0.0]]),
        torch.tensor([0, 1, 0, 1]),
    )
    nets = [Network([2, 3, 1], backend=backend, random_state=0) for _ in "ab"]
    histories = [
        train(net, *data, optimizer=SGD(0.1), epochs=3)
        for net, data in zip(nets, [(X, y), (X.numpy(), y.numpy())], strict=True)
    ]
    assert histories[0] == histories[1]
    np.testing.assert_array_equal(nets[0].predict(X), nets[1].predict(X.numpy()))


def test_a_foreign_cuda_array_on_numpy_moves_or_says_that_it_cannot():
    backend = get_backend("numpy")
    foreign = Foreign(rows())
    np.testing.assert_array_equal(backend.asarray(foreign), rows())
    assert foreign.asked == [(CPU, 0)]
    words = (r"test_backend.Foreign on DLPack device \(2, 0\)", "could not be read on the host")
    with refuses(
        InputError,
        *words,
        "moves nothing to the host",
        "move it to the CPU first, or use the backend",
    ):
        backend.asarray(Foreign(rows(), exports=False))


@pytest.mark.parametrize(
    "values",
    [rows(), rows("float64"), np.asfortranarray(rows())],
    ids=["as asked", "float64", "F-ordered"],
)
def test_a_foreign_array_on_the_right_device_makes_no_host_trip(double, values):
    before, foreign = double.xp.counts.snapshot(), Foreign(values, exports=False)
    X = double.asarray(foreign, "float32")
    spent = double.xp.counts - before
    assert (spent.transfers, spent.syncs) == (0, 0)
    assert foreign.asked == [None]
    assert double.is_native(X)
    assert X.flags.c_contiguous
    np.testing.assert_array_equal(double.to_host(X), values)


def test_a_foreign_array_on_another_device_goes_through_the_host(double):
    before, foreign = double.xp.counts.snapshot(), Foreign(rows(), index=1)
    np.testing.assert_array_equal(double.to_host(double.asarray(foreign)), rows())
    assert foreign.asked == [(CPU, 0)]
    assert (double.xp.counts - before).transfers == 2  # in, and out again


def test_device_arrays_open_on_numpy(double):
    np.testing.assert_array_equal(get_backend("numpy").asarray(double.asarray(rows())), rows())


def test_host_and_device_are_told_apart(double):
    assert is_on_host(rows())
    assert is_on_host(rows().tolist())
    assert is_on_host(Foreign(rows(), kind=CPU))
    assert not is_on_host(Foreign(rows()))
    assert not is_on_host(double.asarray(rows()))


# --- the door out, and the rest -------------------------------------------------------------------


def test_the_way_out_and_back(backend):
    X = backend.asarray(rows())
    assert backend.is_native(X)
    assert backend.is_native(rows()) == (backend.xp is np)
    host = backend.to_host(X)
    assert isinstance(host, np.ndarray)
    np.testing.assert_array_equal(host, rows())
    backend.send(rows()[::-1].copy(), X)
    np.testing.assert_array_equal(backend.to_host(X), rows()[::-1])


def test_rows_are_gathered(backend):
    source, order = backend.asarray(rows()), backend.asarray(np.array([3, 0, 0]))
    out = backend.asarray(np.zeros((3, 3), "float32"))
    backend.gather(source, order, out)
    np.testing.assert_array_equal(backend.to_host(out), rows()[[3, 0, 0]])


def test_gathering_allocates_nothing_on_numpy():
    backend, source, order = get_backend("numpy"), np.ones((300, 100)), np.arange(299, -1, -1)
    out = np.zeros((300, 100))
    tracemalloc.start()
    backend.gather(source, order, out)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < out.nbytes / 10


def test_the_namespace_of_arrays(double, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", double.xp)
    X = double.asarray(rows())
    assert array_namespace(X, X) is double.xp
    assert array_namespace(rows(), np.float32(1)) is np
    for arrays in ((X, rows()), ([1.0],), (1.0,)):
        with refuses(InputError, "arrays of one library expected; got"):
            array_namespace(*arrays)


# --- formulas, compiled ---------------------------------------------------------------------------

FORMULAS = {
    f"{name}.{way}": getattr(activation, way)
    for name, activation in ACTIVATIONS.items()
    for way in ("forward", "backward", "backward_from_one")
}
FORMULAS |= {
    f"{name}{way}": getattr(loss, way or "both")
    for name, loss in LOSSES.items()
    for way in ("", "weighted")
}
FORMULAS |= {
    name: value
    for module in (formulas_module, rules_module)
    for name, value in vars(module).items()
    if isinstance(value, Formula)
}
RULES = [kind().rule for kind in OPTIMIZERS.values()]
RULES += [SGD(momentum=0.9).rule, SGD(momentum=0.9, nesterov=True).rule]
FORMULAS |= {
    f"{rule.function.__name__}.{way}": getattr(rule, way)
    for rule in RULES
    for way in ("formula", "formula_with_factors")
}

SHAPES = [
    *((n,) for n in (1, 100, TILE - 1, TILE, TILE + 1, 2 * TILE + 5)),
    *((1, n) for n in (1, TILE, TILE + 1, 2 * TILE + 5)),
    *((7, 13), (3, TILE // 2), (5, TILE // 2 - 1), (TILE + 3, 1), (300, 129), (2, TILE + 1)),
]


def arguments(formula, shape, dtype, seed=0, broadcast=()):
    """Arguments of *formula* by name; the arrays that it only reads have the *broadcast* shapes."""
    rng, made = np.random.default_rng(seed), {}
    shapes = itertools.chain(broadcast, itertools.repeat(shape))
    for name, parameter in list(inspect.signature(formula.function).parameters.items())[1:]:
        if parameter.annotation in (float, "float"):
            made[name] = float(rng.uniform(0.1, 0.9))
        else:
            made[name] = rng.standard_normal(shape if name in formula.writes else next(shapes))
            made[name] = made[name].astype(dtype)
    if "v" in made:
        made["v"] = np.abs(made["v"])  # a mean of squares
    return made


def plain(formula, made):
    """The new values of everything, by the plain expression on copies."""
    results = formula(np, *made.values())
    results = results if isinstance(results, tuple) else (results,)
    return made | dict(zip(formula.writes, results, strict=True))


def bind(compiler, formula, arguments):
    """The routine of *formula* over its arrays, and the scalars to call it with."""
    scalars = [a for a in arguments if isinstance(a, float)]
    arrays = [a for a in arguments if not isinstance(a, float)]
    return partial(compiler(formula, *arrays), *scalars)


def check_compiled(compiler, backend, formula, made):
    expected = plain(formula, {k: np.copy(v) if np.ndim(v) else v for k, v in made.items()})
    given = [backend.asarray(v.copy()) if np.ndim(v) else v for v in made.values()]
    with backend:
        bind(compiler, formula, given)()
    for (name, value), got in zip(expected.items(), given, strict=True):
        if np.ndim(value):
            assert got.dtype == value.dtype, name
            near = (4 if backend.xp is np else 64) * np.finfo(value.dtype).eps
            value = np.broadcast_to(value, got.shape)  # "linear" looks at no array of full shape
            np.testing.assert_allclose(backend.to_host(got), value, near, near, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMULAS)
def test_compiled_formulas_are_the_plain_expressions(backend, name, dtype):
    formula = FORMULAS[name]
    compiler = backend.compiler()
    for shape in SHAPES:
        kinds = [()] if len(shape) == 1 else [(), [(shape[0], 1)] * 2, [(1, shape[1])] * 2]
        for broadcast in kinds:
            check_compiled(
                compiler, backend, formula, arguments(formula, shape, dtype, 0, broadcast)
            )


_same_fixture = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@_same_fixture
@given(data=st.data())
def test_compiled_formulas_on_any_shape_and_tile(data):
    formula = data.draw(st.sampled_from([*FORMULAS.values()]))
    shape = data.draw(st.tuples(*[st.integers(1, 12)] * data.draw(st.integers(1, 2))))
    kinds = [shape] if len(shape) == 1 else [shape, (shape[0], 1), (1, shape[1]), (1, 1)]
    broadcast = data.draw(st.lists(st.sampled_from(kinds), max_size=3))
    made = arguments(
        formula, shape, data.draw(st.sampled_from(DTYPES)), data.draw(st.integers(0, 99)), broadcast
    )
    compiler = Compiler(tile=data.draw(st.integers(1, 40)))
    check_compiled(compiler, get_backend("numpy"), formula, made)
    check_compiled(compiler, get_backend("numpy"), formula, made)  # its scratch is used again


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMULAS)
def test_the_steady_state_allocates_nothing_on_numpy(name, dtype):
    formula = FORMULAS[name]
    compiler = get_backend("numpy").compiler()
    routines = [
        bind(compiler, formula, arguments(formula, shape, dtype).values())
        for shape in [(3 * TILE + 7,), (40, 2000), (1, 500)]
    ]
    tracemalloc.start()
    for routine in routines:
        routine()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # NumPy multiplies by a mask through a cast buffer of its own; the rest is views of tiles.
    buffer = np.getbufsize() * np.dtype(dtype).itemsize if "backward" in name else 0
    assert peak < buffer + 4096 < TILE * np.dtype(dtype).itemsize


def test_scratch_is_of_a_tiles_size_however_large_the_arrays():
    compiler, formula = get_backend("numpy").compiler(), FORMULAS["logistic"]
    made = [arguments(formula, (1, 40 * TILE), "float32", seed).values() for seed in range(3)]
    generate(FORMULAS["logistic"])
    tracemalloc.start()
    for call in made:
        bind(compiler, FORMULAS["logistic"], call)()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert TILE * 4 < peak < 6 * TILE * 4


@pytest.mark.parametrize("shape", [(5,), (TILE + 2,), (3, 4)])
def test_results_do_not_disturb_one_another(backend, shape):
    """Every result comes from the old values, in whatever order and place it is written."""

    def swap(xp, a, b, rate: float):
        return b * rate, a * rate

    def shift(xp, a, b, rate: float):
        old = a * 1.0
        a = xp.exp(b) - a
        return a, old + a * rate

    def crossed(xp, a, b, rate: float):
        product = a * b
        return product + a, xp.where(product > a, b, a - rate)

    def chosen(xp, a, b, rate: float):
        return xp.where(a > 0.0, b, 1.0), xp.where(a <= b, 0.0, a)

    for function in (swap, shift, crossed, chosen):
        formula = Formula(function, ("a", "b"))
        check_compiled(backend.compiler(), backend, formula, arguments(formula, shape, "float64"))


def test_an_argument_may_be_given_twice(backend):
    formula = Formula(lambda xp, a, b: a * b + xp.exp(b), ("a",))
    values = np.linspace(-1.0, 1.0, 50)
    array = backend.asarray(values.copy())
    with backend:
        backend.compiler()(formula, array, array)()
    np.testing.assert_allclose(backend.to_host(array), values * values + np.exp(values), rtol=1e-14)


@pytest.mark.parametrize("function", [lambda xp, a, b: (b, a * 1.0), lambda xp, a, b: (a + b,) * 2])
def test_a_result_that_is_not_computed_by_itself_is_refused(function):
    with pytest.raises(TypeError, match="must compute each result by itself"):
        generate(Formula(function, ("a", "b")))


def test_branches_on_values_are_refused():
    with pytest.raises(TypeError, match="must not branch on a value"):
        generate(Formula(lambda xp, a: a if a > 0.0 else -a, ("a",)))


# --- formulas, on the standard's own library ------------------------------------------------------


@pytest.mark.parametrize("device", ["CPU_DEVICE", "device1", "no_float64"])
@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_keep_to_the_array_api(name, device):
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    if strict.Device(device) not in strict.__array_namespace_info__().devices():
        pytest.skip(f"array-api-strict {strict.__version__} has no device {device}")
    place, formula = strict.Device(device), FORMULAS[name]
    for dtype in DTYPES[: 1 if device == "no_float64" else 2]:
        for shape, broadcast in ((50,), ()), ((4, 6), [(4, 1)]), ((4, 6), [(1, 6)]):
            made = arguments(formula, shape, dtype, broadcast=broadcast)
            given = [strict.asarray(v, device=place) if np.ndim(v) else v for v in made.values()]
            with strict.ArrayAPIStrictFlags(boolean_indexing=False, data_dependent_shapes=False):
                results = formula(strict, *given)
            results = results if isinstance(results, tuple) else (results,)
            for target, result in zip(formula.writes, results, strict=True):
                assert result.device == place
                assert result.dtype == getattr(strict, dtype)
                host = np.from_dlpack(result.to_device(strict.Device("CPU_DEVICE")))
                np.testing.assert_array_equal(host, plain(formula, made)[target])


# --- formulas, against higher precision and finite differences ------------------------------------

_EXACT = decimal.Context(prec=400, Emin=-999_999, Emax=999_999)
LOGITS = np.array(
    [
        s * z
        for s in (1, -1)
        for z in (0, 1e-8, 1e-3, 0.5, 1, 5, 16, 17, 37, 88, 89, 104, 709, 710, 746, 1e4)
    ]
)


def exact_sigmoid(z):
    with decimal.localcontext(_EXACT):
        return 1 / (1 + (-decimal.Decimal(float(z))).exp())


def exact_loss(z, y):
    """``-log P(y)``, in the naive way."""
    with decimal.localcontext(_EXACT):
        return (1 + (decimal.Decimal(float(z)) * (-1 if y else 1)).exp()).ln()


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_and_loss_are_exact_for_any_logit(backend, dtype):
    Z = LOGITS.astype(dtype).reshape(1, -1)
    eps, tiny = np.finfo(dtype).eps, float(np.finfo(dtype).tiny)
    probabilities = np.array([float(exact_sigmoid(z)) for z in Z[0]])
    with np.errstate(over="raise", divide="raise", invalid="raise"), backend:
        got = backend.to_host(sigmoid(backend.xp, backend.asarray(Z)))
        assert got.dtype == dtype
        np.testing.assert_allclose(got[0], probabilities, rtol=8 * eps, atol=tiny)
        for y in (0.0, 1.0):
            dZ, losses, b, Y = (
                backend.asarray(a.astype(dtype))
                for a in (Z, np.zeros_like(Z), np.zeros((1, 1)), np.full_like(Z, y))
            )
            backend.compiler()(logistic, dZ, losses, b, Y)(1.0)
            exact = np.array([float(exact_loss(z, y)) for z in Z[0]])
            np.testing.assert_allclose(backend.to_host(losses)[0], exact, rtol=8 * eps, atol=tiny)
            np.testing.assert_allclose(backend.to_host(dZ)[0], probabilities - y, atol=4 * eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_logit_up_to_1e4_is_finite_and_silent(dtype):
    Z = np.linspace(-1e4, 1e4, 40_001, dtype=dtype)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        assert np.isfinite(sigmoid(np, Z)).all()
        for y in (0.0, 0.3, 1.0):
            dZ, losses = logistic(np, Z, None, 0.0, y, 1.0)
            assert np.isfinite(dZ).all()
            assert np.isfinite(losses).all()
            assert (losses >= 0).all()


def central(function, z, h=1e-6):
    return (function(z + h) - function(z - h)) / (2 * h)


POINTS = np.concatenate([np.linspace(-6, -0.01, 60), np.linspace(0.01, 6, 60)])  # no kink within h


@pytest.mark.parametrize("y", [0.0, 0.25, 1.0])
def test_the_losses_gradient_is_its_derivative(y):
    def loss(z):
        return logistic(np, z, None, 0.5, y, 3.0)[1]

    gradient = logistic(np, POINTS, None, 0.5, y, 3.0)[0]
    np.testing.assert_allclose(gradient, 3.0 * central(loss, POINTS), rtol=1e-7, atol=1e-8)


# --- formulas, against PyTorch --------------------------------------------------------------------


def test_the_loss_is_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    Z = torch.tensor(LOGITS, requires_grad=True)
    Y = torch.tensor(np.arange(Z.numel()) % 2.0)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(Z, Y, reduction="none")
    losses.mean().backward()
    dZ, got = logistic(np, LOGITS, None, 0.0, Y.numpy(), 1.0 / Z.numel())
    np.testing.assert_allclose(
        got, losses.detach().numpy(), rtol=1e-12, atol=1e-15
    )  # theirs rounds
    np.testing.assert_allclose(dZ, Z.grad.numpy(), rtol=1e-12, atol=1e-17)
