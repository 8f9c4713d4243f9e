"""GPTQ as its paper has it, in float64 and a column at a time: no blocks, no kernels, nothing that is there for speed."""

import numpy


def hessian(activations):
    """2/n · Σ x xᵀ of the rows of [n, in]."""
    x = numpy.asarray(activations, numpy.float64)
    return 2 / len(x) * x.T @ x


def static_scales(weight, group_of, symmetric, bits=4):
    """Minimum-maximum scales and zero points of the unchanged weights, found before any column is rounded."""
    highest = (1 << bits) - 1
    groups = int(group_of.max()) + 1
    scales, zeros = numpy.empty((2, len(weight), groups))
    for group in range(groups):
        part = weight[:, group_of == group]
        low, high = numpy.minimum(part.min(1), 0), numpy.maximum(part.max(1), 0)
        scale = numpy.maximum(-low, high) * 2 / highest if symmetric else (high - low) / highest
        scales[:, group] = numpy.where(scale > 0, scale, 1)
        zeros[:, group] = 1 << (bits - 1) if symmetric else numpy.clip(numpy.rint(-low / scales[:, group]), 0, highest)
    return scales, zeros


def nearest(column, scale, zero, bits=4):
    """The codes of one column, and what they mean."""
    codes = numpy.clip(numpy.rint(column / scale) + zero, 0, (1 << bits) - 1)
    return codes, (codes - zero) * scale


def round_to_nearest(weight, scales, zeros, group_of, bits=4):
    return nearest(weight, scales[:, group_of], zeros[:, group_of], bits)


def order_of(hessian, act_order):
    """The columns in the order in which they are rounded."""
    diagonal = numpy.diag(hessian)
    return numpy.argsort(-diagonal, kind="stable") if act_order else numpy.arange(len(diagonal))


def gptq(weight, hessian, scales, zeros, group_of, *, damping=0.01, act_order=False, bits=4):
    """(codes, values) of [out, in] weights. Columns keep the groups they have, whatever order they are rounded in."""
    weight, hessian = numpy.array(weight, numpy.float64), numpy.array(hessian, numpy.float64)
    dead = numpy.diag(hessian) == 0
    hessian[dead, dead] = 1
    weight[:, dead] = 0
    order = order_of(hessian, act_order)
    weight, hessian = weight[:, order], hessian[numpy.ix_(order, order)]
    hessian += damping * numpy.diag(hessian).mean() * numpy.eye(len(hessian))
    inverse = numpy.linalg.inv(hessian)
    upper = numpy.linalg.cholesky((inverse + inverse.T) / 2).T
    codes, values = numpy.empty((2, *weight.shape))
    for column, original in enumerate(order):
        group = group_of[original]
        codes[:, original], value = nearest(weight[:, column], scales[:, group], zeros[:, group], bits)
        error = (weight[:, column] - value) / upper[column, column]
        weight[:, column:] -= numpy.outer(error, upper[column, column:])
        values[:, original] = value
    return codes.astype(numpy.uint8), values


def by_elimination(weight, hessian, scales, zeros, group_of, *, damping=0.01, act_order=False, bits=4):
    """The same, the way Optimal Brain Surgeon states it: each rounded column is eliminated from the inverse itself."""
    weight, hessian = numpy.array(weight, numpy.float64), numpy.array(hessian, numpy.float64)
    dead = numpy.diag(hessian) == 0
    hessian[dead, dead] = 1
    weight[:, dead] = 0
    order = order_of(hessian, act_order)
    inverse = numpy.linalg.inv(hessian + damping * numpy.diag(hessian).mean() * numpy.eye(len(hessian)))
    codes, values = numpy.empty((2, *weight.shape))
    for column in order:
        group = group_of[column]
        codes[:, column], values[:, column] = nearest(weight[:, column], scales[:, group], zeros[:, group], bits)
        error = (weight[:, column] - values[:, column]) / inverse[column, column]
        weight -= numpy.outer(error, inverse[column])
        inverse -= numpy.outer(inverse[:, column], inverse[column]) / inverse[column, column]
    return codes.astype(numpy.uint8), values


def output_error(difference, hessian):
    """tr(Δ H Δᵀ): twice the mean squared change of the outputs, summed over them."""
    return numpy.einsum("oi,ij,oj->", difference, hessian, difference, optimize=True)
