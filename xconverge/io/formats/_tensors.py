"""PyTorch files, read by PyTorch: tensors and nothing else, never unpickled objects."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

from xconverge.io.formats._needs import needs
from xconverge.kernels.vectors import Array
from xconverge.labels.messages import SchemaError


def import_torch(call: str) -> Any:
    """PyTorch, or an error that says how to install it."""
    return needs("torch", call, "'xconverge[torch]'")


def load(path: Path, torch: Any) -> Any:
    """What a ``.pt`` file holds, memory mapped where its format allows it."""
    mapped = zipfile.is_zipfile(path)
    if mapped:
        with zipfile.ZipFile(path) as opened:
            if any(info.compress_type != zipfile.ZIP_STORED for info in opened.infolist()):
                raise SchemaError(f"{path} is a compressed archive, which PyTorch never writes")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise SchemaError(
            f"{path} holds Python objects other than tensors, or is damaged: only unpickling could "
            "read them, and unpickling runs code. Save tensors, numbers, text, lists and dicts "
            f"alone. PyTorch says: {str(error).splitlines()[0][:200]}"
        ) from None


def check_tensor(tensor: Any, what: str, torch: Any) -> Any:
    """A plain tensor of real numbers whose values are all in the file."""
    if not isinstance(tensor, torch.Tensor):
        raise SchemaError(f"{what} must be a tensor, got {type(tensor).__name__}")
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        raise SchemaError(
            f"{what} must be a plain tensor of real numbers, got {tensor.layout}, {tensor.dtype}; "
            "save tensor.to_dense(), dequantize() or abs() of it"
        )
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise SchemaError(
            f"{what} claims the shape {tuple(tensor.shape)}, and the file holds only "
            f"{tensor.untyped_storage().nbytes()} bytes of it; save tensor.contiguous()"
        )
    return tensor.detach()


def numpy_of(tensor: Any, torch: Any) -> Array:
    """A tensor as NumPy has it; brain floats and smaller ones as float32, which keeps them."""
    if tensor.dtype.is_floating_point and tensor.dtype not in (
        torch.float16, torch.float32, torch.float64
    ):  # fmt: skip
        tensor = tensor.to(torch.float32)
    array: Array = tensor.numpy()
    return array
