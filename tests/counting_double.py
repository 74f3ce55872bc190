"""A counting double of CuPy: NumPy arithmetic behind CuPy's refusals, with every cost counted.

``CountingDouble(devices=1)`` stands in for the *module* ``cupy``.  It computes with NumPy, refuses
what CuPy 14 refuses (implicit conversion, mixing with NumPy arrays, names and keywords that CuPy
lacks) and counts what a GPU run would pay for.

What it proves: that the code keeps to CuPy's vocabulary and discipline, and how many launches,
allocations, hidden copies, synchronizations and transfers CuPy's source implies.  What it does not
prove: CuPy's own numbers, casting and rounding, asynchrony, speed, or that anything runs on a GPU.
Nothing shown here is "tested on CuPy".

It is stricter than CuPy where CuPy would let a slip pass: NumPy functions of its arrays, arrays of
another device than the current one, ufuncs of scalars alone, list indices and indices out of range
raise, and ``empty`` holds NaN.  Inside ``fuse`` a float meets floating-point arrays only, because
CuPy 14.2 computes it with another float, a mask or uint8 in float16; and only arrays of the full
shape may be written.

Its arrays name ``cupy`` as their module; code that looks modules up by class finds the double after
``monkeypatch.setitem(sys.modules, "cupy", double)``.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import astuple, dataclass, replace
from types import SimpleNamespace

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

_UFUNCS = """
    add subtract multiply divide true_divide floor_divide remainder power negative reciprocal square
    sqrt exp exp2 expm1 log log2 log1p logaddexp sin cos tanh sign abs absolute floor ceil rint
    maximum minimum isfinite isinf isnan greater greater_equal less less_equal equal not_equal
    logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor invert
    left_shift right_shift
"""
_SAME_AS_NUMPY = """
    bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64
    dtype finfo iinfo isdtype result_type newaxis pi e inf nan
"""
_OPERATORS = """
    add:add sub:subtract mul:multiply truediv:divide floordiv:floor_divide mod:remainder pow:power
    and:bitwise_and or:bitwise_or xor:bitwise_xor lshift:left_shift rshift:right_shift
"""
_COMPARISONS = "lt:less le:less_equal gt:greater ge:greater_equal eq:equal ne:not_equal"
_SCALARS = (bool, int, float, np.generic)
_CUB = "bBhHiIlLqQefd"  # the dtypes that CUB finds the maximum of
_CPU, _CUDA = 1, 2  # DLPack's device types


@dataclass
class Counts:
    """What was spent; ``counts - earlier_snapshot`` is what was spent since."""

    launches: int = 0  #: kernels, BLAS calls, fills and copies on the device
    allocations: int = 0  #: device memory that the caller could have avoided to take
    scratch: int = 0  #: what CuPy takes from its pool inside a call even where ``out`` is given
    copies: int = 0  #: copies that the text does not show; each is also a launch and an allocation
    syncs: int = 0  #: times that the host waited for the device
    transfers: int = 0  #: between host and device, either way

    def snapshot(self):
        return replace(self)

    def spend(self, **amounts):
        for name, amount in amounts.items():
            setattr(self, name, getattr(self, name) + int(amount))

    def hide(self, copies):
        self.spend(copies=copies, launches=copies, allocations=copies)

    def __sub__(self, earlier):
        return Counts(*map(operator.sub, astuple(self), astuple(earlier)))


class CUDARuntimeError(RuntimeError):
    """CuPy's error for what the CUDA runtime refuses."""


# --- arrays: what operators take, what a fused function sees, what a device holds -----------------


class _Operand:
    __slots__ = ("_array", "_double")
    __hash__ = None

    def _refuse(self, *_args, **_keywords):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, *_args, **_keywords):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>: or a NumPy ufunc or scalar")

    __array__ = __array_function__ = _refuse
    dtype = property(lambda self: self._array.dtype)
    ndim = property(lambda self: self._array.ndim)


def _methods(name):
    return (
        lambda self, other: getattr(self._double, name)(self, other),
        lambda self, other: getattr(self._double, name)(other, self),
        lambda self, other: getattr(self._double, name)(self, other, out=self),
    )


for _method, _name in (pair.split(":") for pair in _OPERATORS.split()):
    for _prefix, _function in zip(("", "r", "i"), _methods(_name), strict=True):
        setattr(_Operand, f"__{_prefix}{_method}__", _function)
for _method, _name in (pair.split(":") for pair in _COMPARISONS.split()):
    setattr(_Operand, f"__{_method}__", _methods(_name)[0])
_Operand.__neg__ = lambda self: self._double.negative(self)
_Operand.__invert__ = lambda self: self._double.invert(self)


class _FusedArray(_Operand):
    """An array as a fused function sees it: no shape, no views, no truth value."""

    __slots__ = ("_loop",)

    def __init__(self, double, array, loop):
        self._double, self._array, self._loop = double, array, loop

    def __bool__(self):
        raise TypeError("Can't cast to bool")

    def __setitem__(self, index, value):
        if index is not ... and index != slice(None):
            raise ValueError("The fusion supports `[...]` or `[:]`.")
        self._write(self._double._values(value, kind=_FusedArray)[1][0])

    def _write(self, value):
        if self._array.shape != self._loop:
            raise ValueError(f"{self._array.shape} would be written by a loop over {self._loop}")
        np.copyto(self._array, value, casting="same_kind")


class _FusedScalar:
    """A number as a fused function sees it; it has no operators of its own, only arrays do."""

    def __init__(self, value):
        self.value = value

    def __bool__(self):
        raise TypeError("Can't cast to bool")


class ndarray(_Operand):  # noqa: N801 - CuPy's name
    __slots__ = ("_device", "base")
    __module__ = "cupy"

    def __init__(self, double, array, base=None):
        self._double, self._array, self.base = double, array, base
        self._device = double._current if base is None else base._device

    def _view(self, array):
        return ndarray(self._double, array, self if self.base is None else self.base)

    T = property(lambda self: self._view(self._array.T))
    device = property(lambda self: self._double.cuda.Device(self._device))

    @property
    def flags(self):
        flags = self._array.flags
        return SimpleNamespace(c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous)

    @property
    def data(self):
        return SimpleNamespace(ptr=self._array.ctypes.data, device_id=self._device)

    def __len__(self):
        return len(self._array)

    def __getitem__(self, index):
        if isinstance(index, ndarray):
            if index.dtype != bool:
                return self._double.take(self, index, axis=0)
            self._double.counts.spend(launches=1, syncs=1)
            return self._double._new(self._array[self._double._own(index)])
        index = index if isinstance(index, tuple) else (index,)
        if not all(i is None or i is ... or isinstance(i, int | slice) for i in index):
            raise TypeError(f"Unsupported index {index!r}: expected slices, or one device array")
        return self._view(self._array[(*index, *([] if ... in index else [...]))])

    def __setitem__(self, index, value):
        if isinstance(index, ndarray):
            _, (where, value) = self._double._values(index, value)
            self._double.counts.spend(launches=1)
            self._double._own(self)[where] = value
        else:
            self._double.copyto(self[index], value)

    def set(self, arr, stream=None):
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self.flags.c_contiguous or self.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        self._double.counts.spend(transfers=1)
        self._array[...] = arr

    def get(self, stream=None, order="C", out=None):
        host = np.empty_like(self._array, order=order) if out is None else out
        here, there = self.flags, host.flags
        straight = (here.c_contiguous and there.c_contiguous) or (
            here.f_contiguous and there.f_contiguous
        )
        self._double.counts.hide(not straight)
        self._double.counts.spend(transfers=1, syncs=1)
        host[...] = self._array
        return host

    def item(self):
        return self.get().item()

    def astype(self, dtype, order="K", copy=True):
        if not copy and self.dtype == dtype:
            return self
        self._double.counts.spend(launches=1)
        return self._double._new(self._array.astype(dtype, order))

    def copy(self, order="C"):
        self._double.counts.spend(launches=1)
        return self._double._new(self._array.copy(order))

    def fill(self, value):
        self._double.copyto(self, value)

    def reshape(self, *shape, order="C"):
        array = self._array.reshape(*shape, order=order)
        self._double.counts.hide(array.size > 0 and not np.may_share_memory(array, self._array))
        return self._view(array)

    def ravel(self, order="C"):
        return self.reshape(-1, order=order)

    def __dlpack_device__(self):
        return _CUDA, self._device

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        if dl_device != (_CPU, 0):
            raise BufferError("the double has no CUDA memory to export: dl_device=(1, 0) only")
        return self.get(order="A").__dlpack__(max_version=max_version)


for _name in ("shape", "size", "nbytes", "itemsize", "strides"):
    setattr(ndarray, _name, property(operator.attrgetter(f"_array.{_name}")))
for _convert in (bool, int, float, repr):
    setattr(ndarray, f"__{_convert.__name__}__", lambda self, _f=_convert: _f(self.get()))
for _name in ("sum", "mean", "max", "min", "all", "any", "take"):
    setattr(
        ndarray, _name, lambda self, *a, _n=_name, **k: getattr(self._double, _n)(self, *a, **k)
    )
ndarray.dot = lambda self, b, out=None: self._double.matmul(self, b, out=out)
for _name in ("abs", "matmul"):
    setattr(ndarray, f"__{_name}__", lambda self, *a, _n=_name: getattr(self._double, _n)(self, *a))


# --- the module -----------------------------------------------------------------------------------


class _Device:
    """``cuda.Device``: a device by number; a number out of range raises when it is used."""

    def __init__(self, double, device=None):
        self._double, self._before = double, []
        self.id = double._current if device is None else int(device)

    compute_capability = property(lambda self: self._double._capability)

    def use(self):
        if not 0 <= self.id < self._double._devices:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self._double._current = self.id
        return self

    def __enter__(self):
        self._before.append(self._double._current)
        return self.use()

    def __exit__(self, *exc):
        self._double._current = self._before.pop()


class _Linalg:
    """``_core._routines_linalg``: what float32 products may round their operands to."""

    COMPUTE_TYPE_DEFAULT, COMPUTE_TYPE_FP16, COMPUTE_TYPE_BF16, COMPUTE_TYPE_TF32 = 1, 3, 6, 7

    def __init__(self):
        self._types = {"float32": self.COMPUTE_TYPE_DEFAULT}

    def get_compute_type(self, dtype):
        return self._types[dtype]

    def set_compute_type(self, dtype, compute_type):
        self._types[dtype] = compute_type

    def _rounded(self, array):
        """Round as a tensor core does: to float16, or to so many bits of the mantissa."""
        kind = self._types["float32"]
        if array.dtype != np.float32 or kind == self.COMPUTE_TYPE_DEFAULT:
            return array
        if kind == self.COMPUTE_TYPE_FP16:
            return array.astype(np.float16).astype(np.float32)
        lost = np.uint32(23 - {self.COMPUTE_TYPE_TF32: 10, self.COMPUTE_TYPE_BF16: 7}[kind])
        half = np.uint32(1) << (lost - np.uint32(1))
        return ((np.array(array).view(np.uint32) + half) >> lost << lost).view(np.float32)


class CountingDouble:
    """A stand-in for the module ``cupy`` with that many *devices*; `counts` says what was spent.

    *capability* is the devices' compute capability, as CuPy writes it.
    """

    ndarray = ndarray
    __version__ = "14.2.0"

    def __init__(self, devices=1, capability="90"):
        self.counts = Counts()
        self._capability, self._memory = capability, 80 << 30
        self._core = SimpleNamespace(_routines_linalg=_Linalg())
        self._devices, self._current = devices, 0
        for name in _SAME_AS_NUMPY.split():
            setattr(self, name, getattr(np, name))
        for name in _UFUNCS.split():
            setattr(self, name, functools.partial(self._ufunc, getattr(np, name)))
        for name in ("zeros", "ones"):
            setattr(self, name, functools.partial(self._filled, getattr(np, name)))
        for name, cub_dtypes in (("max", _CUB), ("min", _CUB), ("all", ""), ("any", "")):
            setattr(self, name, functools.partial(self._reduce, getattr(np, name), cub_dtypes))
        stream = SimpleNamespace(synchronize=lambda: self.counts.spend(syncs=1))
        self.cuda = SimpleNamespace(
            Device=functools.partial(_Device, self),
            device=SimpleNamespace(get_cublas_handle=lambda: 1),
            get_current_stream=lambda: stream,
            is_available=self.is_available,
            runtime=SimpleNamespace(
                CUDARuntimeError=CUDARuntimeError,
                getDevice=lambda: self._current,
                getDeviceCount=self._device_count,
                runtimeGetVersion=lambda: 13000,
                driverGetVersion=lambda: 13010,
                memGetInfo=lambda: (self._memory, 80 << 30),
                getDeviceProperties=lambda device: {"name": f"counting double {device}".encode()},
            ),
        )

    def _device_count(self):
        if self._devices == 0:
            raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
        return self._devices

    def is_available(self):
        return self._devices > 0

    def get_default_memory_pool(self):
        return SimpleNamespace(
            free_all_blocks=lambda: None,
            free_bytes=lambda: 0,
            used_bytes=lambda: 0,
            get_limit=lambda: 0,
        )

    # --- operands and results ---------------------------------------------------------------------

    def _own(self, value):
        """Return what a device array holds, if it lies on the current device."""
        if not isinstance(value, ndarray):
            raise TypeError(f"Unsupported type {type(value)}")
        if value._device != self._current:
            raise ValueError(
                f"The device where the array resides ({value._device}) is different from the "
                f"current device ({self._current}). Peer access is unavailable."
            )
        return value._array

    def _values(self, *operands, kind=None):
        """Return the one kind of array among *operands*, unless given, and what they all hold."""
        kinds = {type(o) for o in operands if isinstance(o, _Operand)} | ({kind} - {None})
        values = [self._value(o) for o in operands]
        if len(kinds) != 1:
            raise TypeError("expected a device array among the operands, and not another fused one")
        kind = kinds.pop()
        floating = any(isinstance(v, np.ndarray) and v.dtype.kind == "f" for v in values)
        if kind is _FusedArray and float in map(type, values) and not floating:
            raise TypeError("a float meets no floating-point array: CuPy's fuse would take float16")
        return kind, values

    def _value(self, operand):
        if isinstance(operand, _FusedArray):
            return operand._array
        if isinstance(operand, _FusedScalar):
            return operand.value
        return operand if isinstance(operand, _SCALARS) else self._own(operand)

    def _new(self, array):
        self.counts.spend(allocations=1)
        return ndarray(self, array)

    def _result(self, result, out=None):
        """A new array of *result*, or *out* holding it."""
        result = np.asarray(result)
        if out is None:
            return self._new(result)
        if self._own(out).shape != result.shape:
            raise ValueError(f"Out shape is mismatched: {out.shape}, expected {result.shape}")
        np.copyto(out._array, result, casting="same_kind")
        return out

    # --- elementwise ------------------------------------------------------------------------------

    def _ufunc(self, function, *operands, out=None, dtype=None, casting="same_kind"):
        if len(operands) == function.nin + 1:
            *operands, out = operands
        kind, values = self._values(*operands)
        with np.errstate(all="ignore"):
            result = np.asarray(function(*values, dtype=dtype, casting=casting))
        if kind is _FusedArray:
            if out is not None:
                out._write(result)
            return self._fused(result, operands) if out is None else out
        if out is not None:
            target = self._own(out)
            others = [o for o in operands if isinstance(o, ndarray) and o is not out]
            self.counts.hide(sum(np.may_share_memory(o._array, target) for o in others))
        self.counts.spend(launches=1)
        return self._result(result, out)

    def _fused(self, result, operands):
        loop = next(o._loop for o in operands if isinstance(o, _FusedArray))
        return _FusedArray(self, result, loop)

    def where(self, condition, x=None, y=None):
        if x is None and y is None:
            self.counts.spend(launches=1, syncs=1)
            return tuple(self._new(i) for i in np.nonzero(self._own(condition)))
        _, values = self._values(x, y)
        kind, _ = self._values(condition, x, y)
        if kind is _FusedArray:
            return self._fused(np.where(condition._array, *values), (condition,))
        self.counts.spend(launches=1)
        return self._new(np.where(condition.astype(bool, copy=False)._array, *values))

    def fuse(self, *functions, kernel_name=None):
        if not functions:
            return self.fuse
        (function,) = functions

        def trace(argument, loop):
            if isinstance(argument, ndarray):
                return _FusedArray(self, argument._array, loop)
            if isinstance(argument, _SCALARS):
                return _FusedScalar(argument)
            if argument is not None:
                raise TypeError(
                    f"Invalid argument type for {function.__name__!r}: {type(argument)}"
                )
            return None

        @functools.wraps(function)
        def fused(*arguments):
            arrays = [self._own(a) for a in arguments if isinstance(a, ndarray)]
            if not arrays:
                return function(*arguments)
            loop = np.broadcast_shapes(*(array.shape for array in arrays))
            traced = [trace(argument, loop) for argument in arguments]
            self.counts.spend(launches=1)
            results = function(*traced)
            if results is None:
                return None
            if isinstance(results, tuple):
                return tuple(self._new(np.array(r._array)) for r in results)
            return self._new(np.array(results._array))

        return fused

    # --- products, sums, indices ------------------------------------------------------------------

    def matmul(self, a, b, /, *, out=None):
        x, y = self._own(a), self._own(b)
        rounded = self._core._routines_linalg._rounded
        with np.errstate(all="ignore"):
            result = np.asarray(np.matmul(rounded(x), rounded(y)))
        hidden = sum(not (v.flags.c_contiguous or v.flags.f_contiguous) for v in (x, y))
        hidden += x.dtype != y.dtype
        if out is not None:
            target = self._own(out)
            overlaps = np.may_share_memory(x, target) or np.may_share_memory(y, target)
            hidden += overlaps or out.dtype != result.dtype or not out.flags.c_contiguous
        self.counts.hide(hidden)
        dot = result.size == 1  # CuPy multiplies, sums by CUB into scratch, and copies to its place
        self.counts.spend(launches=3 if dot else 1, scratch=3 if dot else 0)
        return self._result(result, out)

    def _reduce(self, function, cub_dtypes, a, axis=None, out=None, keepdims=False):
        array = self._own(a)
        given = out is not None
        if array.dtype.char in cub_dtypes and _in_order(array, axis):
            # CUB reduces into scratch with the help of more of it; then out is copied from there.
            self.counts.spend(launches=given, scratch=1 + given)
        self.counts.spend(launches=1)
        with np.errstate(all="ignore"):
            return self._result(function(array, axis=axis, keepdims=keepdims), out)

    def sum(self, a, axis=None, dtype=None, out=None, keepdims=False):
        function = functools.partial(np.sum, dtype=dtype)
        return self._reduce(function, "lLqQefd" if dtype is None else "", a, axis, out, keepdims)

    def mean(self, a, axis=None, dtype=None, out=None, keepdims=False):
        if dtype is None and a.dtype.kind in "biu":
            dtype = np.float64
        total = self.sum(a, axis, dtype, out, keepdims)
        return self.divide(total, a.size // total.size, out=total)

    def take(self, a, indices, axis=None, out=None):
        if out is not None and out.dtype != a.dtype:
            raise TypeError("Output dtype mismatch")
        self.counts.spend(launches=1)
        return self._result(np.take(self._own(a), self._own(indices), axis=axis), out)

    # --- creation, copies, transfers --------------------------------------------------------------

    def _filled(self, function, shape, dtype=float, order="C"):
        self.counts.spend(launches=1)
        return self._new(function(shape, dtype, order))

    def empty(self, shape, dtype=float, order="C"):
        array = np.zeros(shape, dtype, order)
        if array.dtype.kind == "f":
            array.fill(np.nan)
        return self._new(array)

    def full(self, shape, fill_value, dtype=None, order="C"):
        return self._filled(
            lambda *kind: np.full(kind[0], fill_value, *kind[1:]), shape, dtype, order
        )

    def empty_like(self, prototype, dtype=None):
        return self.empty(prototype.shape, dtype or prototype.dtype)

    def zeros_like(self, a, dtype=None):
        return self.zeros(a.shape, dtype or a.dtype)

    def arange(self, start, stop=None, step=1, dtype=None):
        bounds = (0, start) if stop is None else (start, stop)
        return self._filled(lambda *_: np.arange(*bounds, step, dtype=dtype), None)

    def array(self, obj, dtype=None, copy=True):
        if not isinstance(obj, ndarray):
            self.counts.spend(transfers=1)
            return self._new(np.array(obj, dtype))
        elsewhere = obj._device != self._current
        return obj.astype(dtype or obj.dtype, copy=bool(copy) or elsewhere)

    def asarray(self, a, dtype=None, *, copy=None):
        return self.array(a, dtype, copy)

    def ascontiguousarray(self, a, dtype=None):
        a = self.asarray(a, dtype)
        return a if a.flags.c_contiguous else a.copy()

    def copy(self, a, order="K"):
        return a.copy(order)

    def asnumpy(self, a):
        return a.get() if isinstance(a, ndarray) else np.asarray(a)

    def copyto(self, dst, src):
        target = self._own(dst)
        _, (source,) = self._values(src, kind=ndarray)
        if isinstance(src, ndarray):
            if source.ctypes.data == target.ctypes.data and source.strides == target.strides:
                return  # as CuPy sees at the end of ``a[...] += b``
            self.counts.hide(np.may_share_memory(source, target))
        self.counts.spend(launches=1)
        target[...] = source

    def concatenate(self, tup, axis=0, out=None):
        self.counts.spend(launches=1)
        return self._result(np.concatenate([self._own(a) for a in tup], axis), out)

    def from_dlpack(self, array):
        kind, index = array.__dlpack_device__()
        if kind != _CUDA:
            raise TypeError(
                "CPU arrays cannot be directly imported to CuPy. "
                "Use `cupy.array(numpy.from_dlpack(input))` instead."
            )
        with self.cuda.Device(index):
            if isinstance(array, ndarray):
                return ndarray(self, array._array)
            capsule = array.__dlpack__(stream=1, max_version=(1, 0), copy=None)
            return ndarray(self, np.from_dlpack(_Exported(capsule)))


class _Exported:
    """A test's foreign "CUDA" array holds host memory; NumPy takes its capsule from here."""

    def __init__(self, capsule):
        self._capsule = capsule

    def __dlpack__(self, **_keywords):
        return self._capsule

    def __dlpack_device__(self):
        return _CPU, 0


def _in_order(array, axis):
    """Whether *axis* is what CUB can reduce: whole contiguous axes, inmost in memory."""
    axes = sorted(normalize_axis_tuple(range(array.ndim) if axis is None else axis, array.ndim))
    if not axes or axes != list(range(axes[0], axes[-1] + 1)):
        return False
    if array.flags.c_contiguous:
        return axes[-1] == array.ndim - 1
    return array.flags.f_contiguous and axes[0] == 0
