"""The structs of network.h, field for field."""

import ctypes
from enum import IntEnum, IntFlag

POINTER, COUNT, SINGLE, DOUBLE = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_double


class Kind(IntEnum):
    LINEAR, ACTIVATION, BATCH_NORM, STANDARDIZE, PUT, ADD = range(6)


class Function(IntEnum):
    SIGMOID, TANH, RELU, LEAKY_RELU, HARDTANH, ELU, SILU, GELU, GELU_TANH, MISH, SOFTPLUS = range(11)
    SOFTSIGN, HARDSWISH, HARDSIGMOID = range(11, 14)

    @property
    def of_input(self) -> bool:
        """Whether its derivative is computed from its input, which then has to be kept."""
        return self >= Function.ELU


class Rule(IntEnum):
    SGD, ADAM, ADAMW = range(3)


class OwnStatistics(IntFlag):
    """When a batch norm uses those of the batch."""

    IN_TRAINING, AT_EVALUATION = 1, 2


# of a layer's row in the table of a measured step
COLUMNS = (
    *("z_mean", "z_std", "saturated", "dead", "h_mean", "h_std", "h_rms", "spread"),
    *("backward_rms", "backward_norm", "weight_gradient", "update", "weight"),
)


class CParameter(ctypes.Structure):
    _fields_ = [("value", POINTER), ("gradient", POINTER), ("first", POINTER), ("second", POINTER), ("size", COUNT)]


class CModule(ctypes.Structure):
    _fields_ = [
        *((name, COUNT) for name in ("kind", "function", "inward", "outward", "own_statistics", "wire")),
        *((name, COUNT) for name in ("z_site", "h_site", "layer")),
        ("low", SINGLE),
        ("high", SINGLE),
        ("option", SINGLE * 3),
        ("weight", CParameter),
        ("bias", CParameter),
        *((name, POINTER) for name in ("running_mean", "running_var", "output_BE", "mean_E", "inverse_E")),
    ]


class COptimizer(ctypes.Structure):
    _fields_ = [
        ("kind", COUNT),
        ("nesterov", COUNT),
        *((name, DOUBLE) for name in ("rate", "momentum", "decay", "beta1", "beta2", "epsilon")),
        ("steps", COUNT),
    ]


class CNetwork(ctypes.Structure):
    _fields_ = [
        *((name, COUNT) for name in ("modules", "first", "sites", "classes")),
        ("module", POINTER),
        ("labels_B", POINTER),
        ("gemm", POINTER),
        ("optimizer", COptimizer),
        ("input_BD", POINTER),
        ("down_BE", POINTER * 2),
        *((name, POINTER) for name in ("wire_up", "wire_down_BE", "sum_E", "product_E", "h_sum_E", "h_square_E")),
        *((name, POINTER) for name in ("least_E", "most_E", "row_E")),
    ]


class CStretch(ctypes.Structure):
    _fields_ = [
        *((name, POINTER) for name in ("samples_ND", "labels_N", "order_M")),
        *((name, COUNT) for name in ("bytes", "size", "batch")),
    ]
