"""Bias correction: undo the shift, and the change of spread, that quantization does to a weight.

Sources: Banner et al., NeurIPS 2019, arXiv 1810.05723, section 4 (mean and variance of the weights; the **released**
correction of Evol-Q); Nagel et al., ICCV 2019, arXiv 1906.04721, section 4.2 (mean of the output).
"""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.quant.square_root import square_root


def match_moments(weight: Tensor, codes: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Give each output channel of a quantized weight the float weight's mean and standard deviation (**released**).

    The corrected weight is a * code + d, with a = std(w) / std(code) and d = mean(w) - a mean(code). Scale and zero
    point cancel: given the codes, the corrected weight does not depend on them. (The released code adds 1e-8 to the
    standard deviation of the dequantized weight, which leaves a faint dependence on the scale; not so here, **ours**.)

    A channel whose codes are all equal has no spread to correct: a = scale there, and d shifts it to mean(w) (**ours**,
    and what the released formula amounts to).

    All sums are exact, so the result is the same for every order of summation: the codes are integers, and values of
    the weight (squared deviations from its mean) are first rounded to about 2^-53 of their sum's largest possible size.

    Args:
        weight: float weight, shape (out, ...).
        codes: integer-valued float64, same shape, with or without the zero point subtracted.
        scale: of the weight, shape (out,); used for channels without spread only.

    Returns:
        a and d for these ``codes``, float64, shape (out,).

    Raises:
        ValueError: if the shapes differ.
    """
    if weight.shape != codes.shape:
        raise ValueError(f"weight has shape {tuple(weight.shape)}, codes {tuple(codes.shape)}; expected the same")
    mean, squared_deviations = weight_moments(weight)
    q = codes.detach().to(torch.float64).reshape(codes.shape[0], -1)
    count, total = q.shape[1], q.sum(1)
    # Both standard deviations have the same divisor (count - 1 or count), which cancels in their ratio.
    squared_code_deviations = (count * q.square().sum(1) - total.square()) / count
    ratio = square_root(squared_deviations / squared_code_deviations)
    a = torch.where(squared_code_deviations > 0, ratio, scale)
    return a, mean - a * (total / count)


def weight_moments(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of each output channel of a float weight (out, ...), and the sum of its squared deviations; float64 (out,).

    The same for every order of summation, see `match_moments`.
    """
    w = weight.detach().to(torch.float64).reshape(weight.shape[0], -1)
    mean = _sum_in_any_order(w) / w.shape[1]
    return mean, _sum_in_any_order((w - mean.unsqueeze(1)).square())


def output_mean_shift(weight: Tensor, quantized_weight: Tensor, input_mean: Tensor) -> Tensor:
    """Shift of the bias that restores the mean of a layer's output, (W - W') E[x] (Nagel et al., eq. 16).

    For a convolution the mean input is taken per channel and the kernel summed over its positions: padding counts as if
    it had the channel's mean.

    Args:
        weight: float weight W, shape (out, in / groups, ...).
        quantized_weight: W' in its place, same shape.
        input_mean: mean input of each channel, shape (in,); the number of groups follows from it.

    Returns:
        What to add to the bias, float64, shape (out,).

    Raises:
        ValueError: if the shapes do not fit.
    """
    if weight.shape != quantized_weight.shape:
        raise ValueError(f"weights have shapes {tuple(weight.shape)} and {tuple(quantized_weight.shape)}; expected one")
    outputs, group_inputs = weight.shape[:2]
    groups, rest = divmod(input_mean.numel(), group_inputs)
    if input_mean.ndim != 1 or groups == 0 or rest or outputs % groups:
        raise ValueError(
            f"input_mean has shape {tuple(input_mean.shape)}, the weight {tuple(weight.shape)}; expected one mean for "
            "each input channel, in groups that divide the outputs"
        )
    difference = weight.detach().to(torch.float64) - quantized_weight.detach().to(torch.float64)
    kernel = difference.reshape(groups, outputs // groups, group_inputs, -1).sum(-1)
    return (kernel @ input_mean.to(torch.float64).reshape(groups, group_inputs, 1)).reshape(outputs)


def _sum_in_any_order(rows: Tensor) -> Tensor:
    """Sums of rows (n, count), after rounding every value to a power of two so large that the sums are exact."""
    exponent = int(torch.frexp(rows.abs().max()).exponent) + rows.shape[1].bit_length() - 53
    unit = 2.0**exponent
    return torch.round(rows / unit).sum(1) * unit
