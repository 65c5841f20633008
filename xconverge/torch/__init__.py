"""Dispersion and alignment as training signals: what ``xconverge`` measures, differentiable."""

try:
    from xconverge.torch.alignment import alignment
    from xconverge.torch.dispersion import dispersion
    from xconverge.torch.regularizer import DispersionRegularizer
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError(
        "xconverge.torch needs PyTorch, which is not installed: pip install 'xconverge[torch]'"
    ) from error

__all__ = ["DispersionRegularizer", "alignment", "dispersion"]
