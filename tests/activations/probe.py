FORBIDDEN = (
    "relu", "relu_", "relu6", "sigmoid", "sigmoid_", "silu", "silu_", "gelu", "gelu_", "softplus", "logsigmoid",
    "log_sigmoid", "log_sigmoid_forward", "threshold", "threshold_", "leaky_relu", "leaky_relu_", "prelu", "rrelu",
    "elu", "celu", "selu", "glu", "mish", "hardtanh", "hardtanh_", "expit", "special_expit", "threshold_backward",
    "sigmoid_backward", "silu_backward", "gelu_backward", "softplus_backward", "torch.nn", "torch.autograd", "torch.func",
)  # fmt: skip
WRONG_SHAPES = [
    ((3,), (1,)),
    ((1,), (3,)),
    ((3,), (3, 1)),
    ((2, 3), (3,)),
    ((2, 3), (3, 2)),
    ((6,), (2, 3)),
    ((), (1,)),
]
WRONG_OPTIONS = ["Tanh", "erf", "", None, True]
