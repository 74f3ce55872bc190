"""The counting double refuses, counts and computes as it says: tests of a tool of tests."""

import numpy as np
import pytest

from tests.counting_double import CountingDouble, Counts, CUDARuntimeError


@pytest.fixture
def xp():
    return CountingDouble()


@pytest.fixture
def a(xp):
    return xp.asarray(np.arange(6.0, dtype=np.float32).reshape(2, 3))


def run(statement, **names):
    exec(statement, {"np": np} | names)


def spent(xp, work):
    """The costs of *work* that are not zero."""
    before = xp.counts.snapshot()
    work()
    return {name: n for name, n in vars(xp.counts - before).items() if n}


# --- refusals -------------------------------------------------------------------------------------


IMPLICIT = "Implicit conversion to a NumPy array is not allowed"
NUMPY = "Unsupported type <class 'numpy.ndarray'>"
REFUSED = [
    ("np.asarray(a)", TypeError, IMPLICIT),
    ("np.sum(a)", TypeError, IMPLICIT),
    ("np.exp(a)", TypeError, NUMPY),
    ("np.float32(2) * a", TypeError, NUMPY),
    ("np.ones((2, 3)) + a", TypeError, NUMPY),
    ("a + np.ones((2, 3))", TypeError, NUMPY),
    ("a + [1.0]", TypeError, "Unsupported type <class 'list'>"),
    ("xp.exp([1.0])", TypeError, "Unsupported type <class 'list'>"),
    ("xp.exp(1.0)", TypeError, "a device array"),
    ("xp.matmul(a, np.ones((3, 1)))", TypeError, NUMPY),
    ("xp.sum(np.ones(3))", TypeError, NUMPY),
    ("xp.take(a, np.array([0]), axis=0)", TypeError, NUMPY),
    ("xp.take(a, xp.asarray([2]), axis=0)", IndexError, "out of bounds"),
    ("xp.unstack(a)", AttributeError, "unstack"),
    ("xp.cuda.NoSuchThing", AttributeError, "NoSuchThing"),
    ("a.tofile('x')", AttributeError, "tofile"),
    ("xp.exp(a, where=a > 0)", TypeError, "where"),
    ("xp.sum(a, initial=0.0)", TypeError, "initial"),
    ("xp.max(a, where=a > 0)", TypeError, "where"),
    ("xp.take(a, xp.asarray([0]), mode='clip')", TypeError, "mode"),
    ("xp.matmul(a, a.T, a)", TypeError, "positional"),
    ("xp.add(a, a, out=xp.empty((3, 3)))", ValueError, "Out shape"),
    ("xp.add(a, a, out=xp.empty((2, 3), np.int64))", TypeError, "Cannot cast"),
    ("xp.where(a > 0, 1.0, 0.0)", TypeError, "a device array"),
    ("a[[0, 1]]", TypeError, "Unsupported index"),
    ("a[np.array([True, False])]", TypeError, "Unsupported index"),
    ("a[...] = np.ones((2, 3))", TypeError, NUMPY),
    ("a.set([[1.0]])", TypeError, r"Only numpy\.ndarray can be set"),
    ("a.set(np.ones((2, 3)))", TypeError, "float64 array cannot be set to float32"),
    ("a.set(np.ones((3, 2), np.float32))", ValueError, "Shape mismatch"),
    ("a[:, ::2].set(np.ones((2, 2), np.float32))", RuntimeError, "non-contiguous"),
    ("xp.from_dlpack(np.ones(3))", TypeError, "CPU arrays cannot"),
    ("np.from_dlpack(a)", BufferError, "no CUDA memory"),
    ("hash(a)", TypeError, "unhashable"),
]


@pytest.mark.parametrize(("work", "error", "match"), REFUSED)
def test_refuses(xp, a, work, error, match):
    with pytest.raises(error, match=match):
        run(work, xp=xp, a=a)


def test_refuses_a_device_that_is_not_there_once_it_is_used():
    device = CountingDouble(devices=1).cuda.Device(1)
    with pytest.raises(CUDARuntimeError, match="invalid device ordinal"):
        device.use()


def test_without_a_device_it_says_what_cuda_says():
    xp = CountingDouble(devices=0)
    assert not xp.is_available()
    assert not xp.cuda.is_available()
    with pytest.raises(RuntimeError, match="cudaErrorNoDevice"):
        xp.cuda.runtime.getDeviceCount()


def test_refuses_arrays_of_another_device():
    xp = CountingDouble(devices=2)
    here = xp.ones(3)
    with xp.cuda.Device(1):
        there = xp.ones(3)
        assert there.device.id == there.data.device_id == there[1:].device.id == 1
        assert float(xp.asarray(here).sum()) == 3.0  # the one way over
        with pytest.raises(
            ValueError, match=r"resides \(0\) is different from the current .* \(1\)"
        ):
            here + there
    with pytest.raises(ValueError, match="different from the current device"):
        xp.add(here, here, out=there)
    assert xp.cuda.runtime.getDevice() == 0


def test_a_device_is_entered_again_within_itself():
    xp = CountingDouble(devices=2)
    device = xp.cuda.Device(1)
    with device, xp.cuda.Device(0):
        with device:
            assert xp.cuda.Device().id == 1
        assert xp.cuda.Device().id == 0
    assert xp.cuda.Device().id == 0


# --- counts ---------------------------------------------------------------------------------------


def test_counts_subtract():
    counts = Counts(launches=1)
    before = counts.snapshot()
    counts.spend(launches=2, syncs=1)
    assert counts - before == Counts(launches=2, syncs=1)
    assert before == Counts(launches=1)


@pytest.mark.parametrize(
    ("work", "costs"),
    [
        ("a + 1.0", {"launches": 1, "allocations": 1}),
        ("1.0 - a * a", {"launches": 2, "allocations": 2}),
        ("xp.add(a, a, out=a)", {"launches": 1}),
        ("xp.add(a, 1.0, a)", {"launches": 1}),
        ("a += a", {"launches": 1}),
        ("a[...] = 0.0", {"launches": 1}),
        ("a[0] = a[1]", {"launches": 1}),
        ("a[...] = a", {}),
        ("(a[0], a[:, 1:], a.T, a.reshape(3, 2), a[None], a.ravel())", {}),
        ("(a.shape, a.dtype, len(a), a.flags, a.data.ptr, a.nbytes)", {}),
        ("xp.where(a > 0, a, 0.0)", {"launches": 2, "allocations": 2}),
        ("xp.where(a)", {"launches": 1, "allocations": 2, "syncs": 1}),
        ("a[a > 1]", {"launches": 2, "allocations": 2, "syncs": 1}),
        ("a[0, 0].item()", {"transfers": 1, "syncs": 1}),
        ("float(a[0, 0])", {"transfers": 1, "syncs": 1}),
        ("int(a[0, 0])", {"transfers": 1, "syncs": 1}),
        ("bool(a[0, 0])", {"transfers": 1, "syncs": 1}),
        ("repr(a)", {"transfers": 1, "syncs": 1}),
        ("xp.asnumpy(a)", {"transfers": 1, "syncs": 1}),
        ("a.get()", {"transfers": 1, "syncs": 1}),
        ("a.T.get(order='F')", {"transfers": 1, "syncs": 1}),
        ("np.from_dlpack(a, device='cpu')", {"transfers": 1, "syncs": 1}),
        ("a.set(np.ones((2, 3), np.float32))", {"transfers": 1}),
        ("xp.asarray(np.ones(3))", {"transfers": 1, "allocations": 1}),
        ("xp.asarray(a)", {}),
        ("xp.ascontiguousarray(a)", {}),
        ("xp.asarray(a, dtype='float64')", {"launches": 1, "allocations": 1}),
        ("xp.array(a)", {"launches": 1, "allocations": 1}),
        ("xp.from_dlpack(a)", {}),
        ("xp.empty((2, 2))", {"allocations": 1}),
        ("xp.zeros_like(a)", {"launches": 1, "allocations": 1}),
        ("xp.cuda.get_current_stream().synchronize()", {"syncs": 1}),
    ],
)
def test_counts(xp, a, work, costs):
    assert spent(xp, lambda: run(work, xp=xp, a=a)) == costs


HIDDEN = {"launches": 1, "allocations": 1, "copies": 1}


@pytest.mark.parametrize(
    ("work", "copies"),
    [
        ("xp.add(a[0], 1.0, out=a[0])", 1),  # not the same Python object
        ("xp.add(a[:, :2], 1.0, out=a[:, 1:])", 1),
        ("xp.add(a[0], 1.0, out=a[1])", 0),
        ("a[:, :2] = a[:, 1:]", 1),
        ("a[:, :2].reshape(-1)", 1),
        ("a.T.get()", 1),
    ],
)
def test_counts_hidden_copies(xp, a, work, copies):
    assert spent(xp, lambda: run(work, xp=xp, a=a)).get("copies", 0) == copies


@pytest.mark.parametrize(
    ("a", "b", "copies"),
    [
        ("flat[:6].reshape(2, 3)", "flat[6:18].reshape(3, 4)", 0),
        ("flat[:6].reshape(3, 2).T", "flat[6:18].reshape(4, 3).T", 0),
        ("flat[:8].reshape(2, 4)[:, :3]", "flat[8:20].reshape(3, 4)", 1),
        ("flat[:6].reshape(2, 3)", "flat[6:18].reshape(3, 4).astype('f4')", 1),
    ],
)
def test_matmul_copies_operands_of_odd_strides_or_other_dtype(xp, a, b, copies):
    flat, out = xp.arange(40, dtype="f8"), xp.empty((2, 4))
    a, b = eval(a, {"flat": flat}), eval(b, {"flat": flat})
    expected = a.get() @ b.get()
    costs = HIDDEN | {"launches": 2} if copies else {"launches": 1}
    assert spent(xp, lambda: xp.matmul(a, b, out=out)) == costs
    np.testing.assert_array_equal(out.get(), expected)


@pytest.mark.parametrize(
    "out",
    [
        pytest.param("xp.empty((4, 2)).T", id="not C-contiguous"),
        pytest.param("xp.empty((2, 4), 'f4')", id="other dtype"),
        pytest.param("flat[4:12].reshape(2, 4)", id="overlapping"),
    ],
)
def test_matmul_goes_round_an_unfit_out(xp, out):
    flat = xp.arange(40, dtype="f8")
    a, b = flat[:6].reshape(2, 3), flat[6:18].reshape(3, 4)
    expected, out = a.get() @ b.get(), eval(out, {"xp": xp, "flat": flat})
    assert spent(xp, lambda: xp.matmul(a, b, out=out)) == HIDDEN | {"launches": 2}
    np.testing.assert_array_equal(out.get(), expected)


def test_matmul_writes_into_a_view_of_a_flat_buffer(xp):
    flat = xp.zeros(20)
    view = flat[4:12].reshape(2, 4)
    assert xp.matmul(xp.ones((2, 3)), xp.ones((3, 4)), out=view) is view
    np.testing.assert_array_equal(flat.get(), [0] * 4 + [3] * 8 + [0] * 8)


def test_product_of_one_element_is_a_sum_with_scratch(xp):
    row, out = xp.ones((1, 5)), xp.empty((1, 1))
    work = spent(xp, lambda: xp.matmul(row, row.T, out=out))
    assert work == {"launches": 3, "scratch": 3}


@pytest.mark.parametrize(
    ("axis", "layout", "costs"),
    [
        (1, "C", {"launches": 2, "scratch": 2}),
        (0, "C", {"launches": 1}),
        (0, "F", {"launches": 2, "scratch": 2}),
        (1, "F", {"launches": 1}),
        (None, "C", {"launches": 2, "scratch": 2}),
    ],
)
def test_sum_into_out_goes_through_scratch_where_cub_takes_it(xp, axis, layout, costs):
    x = xp.empty((2, 3), order=layout)
    x[...] = 1.0
    out = xp.empty(np.sum(np.ones((2, 3)), axis=axis, keepdims=True).shape)
    assert spent(xp, lambda: xp.sum(x, axis=axis, keepdims=True, out=out)) == costs
    assert np.all(out.get() == 6 / out.size)


def test_mean_is_a_sum_and_a_division(xp, a):
    assert spent(xp, lambda: xp.mean(a)) == {"launches": 2, "allocations": 1, "scratch": 1}
    assert float(xp.mean(a)) == 2.5
    assert float(xp.mean(a > 2)) == 0.5


def test_all_and_any_never_use_scratch(xp, a):
    out = xp.empty((), bool)
    assert spent(xp, lambda: xp.all(a, out=out)) == {"launches": 1}
    assert spent(xp, lambda: a.any()) == {"launches": 1, "allocations": 1}


def test_take_writes_into_out(xp):
    rows = xp.asarray(np.arange(12, dtype=np.uint8).reshape(4, 3))
    out, indices = xp.empty((2, 3), "uint8"), xp.asarray(np.array([3, 1]))
    assert spent(xp, lambda: xp.take(rows, indices, axis=0, out=out)) == {"launches": 1}
    np.testing.assert_array_equal(out.get(), [[9, 10, 11], [3, 4, 5]])
    with pytest.raises(TypeError, match="Output dtype mismatch"):
        xp.take(rows, indices, axis=0, out=xp.empty((2, 3)))


# --- memory ---------------------------------------------------------------------------------------


def test_a_view_shares_its_bases_memory(xp):
    flat = xp.zeros(6)
    view = flat[2:].reshape(2, 2).T
    view[0, 1] = 7.0
    assert flat.get().tolist() == [0, 0, 0, 0, 7, 0]
    assert view.base is flat
    assert flat.base is None
    assert view[0].data.ptr == flat.data.ptr + 16
    assert view.flags.f_contiguous
    assert not view.flags.c_contiguous


def test_nothing_shares_memory_with_the_host(xp):
    host = np.zeros(3)
    a = xp.asarray(host)
    host[0] = 1.0
    a.get()[1] = 1.0
    assert a.get().tolist() == [0, 0, 0]


def test_empty_holds_nan(xp):
    assert np.isnan(xp.empty(3, np.float32).get()).all()


def test_takes_foreign_arrays_of_its_device_and_of_no_other(xp):
    class Foreign:
        host = np.arange(3.0)

        def __dlpack_device__(self):
            return 2, 0

        def __dlpack__(self, *, stream, max_version=None, copy=None):
            assert stream is not None
            return self.host.__dlpack__(max_version=max_version)

    a = xp.from_dlpack(Foreign())
    a[0] = 5.0
    assert isinstance(a, xp.ndarray)
    assert Foreign.host.tolist() == [5, 1, 2]


# --- fusion ---------------------------------------------------------------------------------------


def test_a_fused_function_is_one_launch_and_writes_in_place(xp):
    @xp.fuse
    def step(z, b, out, rate):
        z[...] = xp.where(z + b > 0.0, z + b, 0.0) * rate
        out[...] = xp.log1p(xp.exp(-xp.abs(z)))

    z, b, out = (
        xp.asarray(np.float32([[-3, 1], [2, 3]])),
        xp.ones((2, 1), "f4"),
        xp.empty((2, 2), "f4"),
    )
    assert spent(xp, lambda: step(z, b, out, 0.5)) == {"launches": 1}
    np.testing.assert_array_equal(z.get(), [[0, 1], [1.5, 2]])
    np.testing.assert_allclose(out.get(), np.log1p(np.exp(-z.get())), rtol=1e-6)
    assert z.dtype == np.float32


def test_what_a_fused_function_returns_is_allocated(xp, a):
    double = xp.fuse(lambda x: (x * 2.0, x))
    assert spent(xp, lambda: double(a)) == {"launches": 1, "allocations": 2}
    twice, same = double(a)
    assert same is not a
    np.testing.assert_array_equal(twice.get(), a.get() * 2)


def test_fused_functions_nest_as_one_launch(xp, a):
    inner = xp.fuse(lambda x: x * 2.0)
    outer = xp.fuse(kernel_name="outer")(lambda x: inner(x) + inner(x))
    assert spent(xp, lambda: outer(a)) == {"launches": 1, "allocations": 1}


def test_a_fused_function_without_device_arrays_is_the_plain_one(xp):
    assert xp.fuse(lambda x: np.sum(x))(np.ones(3)) == 3.0


def test_numpy_scalars_widen_inside_fusion_as_in_cupy(xp, a):
    assert xp.fuse(lambda x, s: x * s)(a, 2.0).dtype == np.float32
    assert xp.fuse(lambda x, s: x * s)(a, np.float64(2.0)).dtype == np.float64


def in_place(xp, expression):
    """A fused function of (a, b, s) that writes the value of *expression* into a."""

    @xp.fuse
    def fused(a, b, s):
        run(f"a[...] = {expression}", xp=xp, a=a, b=b, s=s)

    return fused


@pytest.mark.parametrize(
    "expression",
    [
        "xp.matmul(a, b)",
        "a @ b",
        "xp.sum(a, axis=1, keepdims=True)",
        "a.sum()",
        "a.T",
        "a * a.shape[0]",
        "a[0]",
        "a.copy()",
        "a if a > 0 else b",
        "a if s else b",
        "xp.take(a, b)",
        "a + xp.ones((2, 3))",
        "np.exp(a)",
        "float(a)",
        "xp.add(a, b, out=b)",  # b is broadcast: every column would write it
        # what CuPy 14.2 would compute in float16:
        "(1.0 - s) * a",
        "xp.sqrt(s) * a",
        "s * s * a",
        "(a > 0) * 0.1",
        "xp.where(a > 0, s, 0.0)",
        "xp.where(a > 0, 0.1, 0.0) * a",
        "0.1",
    ],
)
def test_fusion_refuses(xp, a, expression):
    b = xp.ones((2, 1), "f4")
    with pytest.raises((TypeError, ValueError, AttributeError)):
        in_place(xp, expression)(a, b, 0.5)


def test_fusion_refuses_keywords_foreign_arguments_and_narrow_targets(xp, a):
    fused = in_place(xp, "a + b")
    with pytest.raises(TypeError, match="keyword"):
        fused(a, a, s=1.0)
    with pytest.raises(TypeError, match="Invalid argument type"):
        fused(a, np.ones(3), 1.0)
    with pytest.raises(ValueError, match="would be written by a loop over"):
        fused(a[:, :1], a, 1.0)


def test_uint8_times_a_float_is_refused_inside_fusion(xp):
    pixels = xp.zeros(3, "uint8")
    with pytest.raises(TypeError, match="float16"):
        xp.fuse(lambda x: x * (1 / 255))(pixels)
