"""fastnn: the fastest way to train multilayer perceptrons in Python."""

from fastnn import data, errors, plots
from fastnn.activations import (
    ELU,
    GELU,
    HardSigmoid,
    HardSwish,
    HardTanh,
    LeakyReLU,
    Linear,
    NoisyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
    Threshold,
)
from fastnn.callbacks import Callback, EarlyStopping
from fastnn.custom import CustomActivation, CustomLoss
from fastnn.errors import DivergenceError, FastnnError, FileError, InputError
from fastnn.initializers import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    Orthogonal,
)
from fastnn.layers import Dense
from fastnn.losses import MAE, MSE, BinaryCrossEntropy, CrossEntropy, HalfMSE, Huber, Poisson
from fastnn.network import MLP
from fastnn.noise import DropConnect, Dropout, Shakeout, Whiteout
from fastnn.norms import BatchNorm, LayerNorm, NormState
from fastnn.optimizers import SGD, Adam, Momentum, Nesterov
from fastnn.penalties import L1, L2
from fastnn.schedules import Constant, Cosine, Exponential, InverseTime, StepDecay
from fastnn.training import History

__version__ = "0.1.0"

__all__ = [
    "ELU",
    "GELU",
    "L1",
    "L2",
    "MAE",
    "MLP",
    "MSE",
    "SGD",
    "Adam",
    "BatchNorm",
    "BinaryCrossEntropy",
    "Callback",
    "Constant",
    "Cosine",
    "CrossEntropy",
    "CustomActivation",
    "CustomLoss",
    "Dense",
    "DivergenceError",
    "DropConnect",
    "Dropout",
    "EarlyStopping",
    "Exponential",
    "FastnnError",
    "FileError",
    "GlorotNormal",
    "GlorotUniform",
    "HalfMSE",
    "HardSigmoid",
    "HardSwish",
    "HardTanh",
    "HeNormal",
    "HeUniform",
    "History",
    "Huber",
    "InputError",
    "InverseTime",
    "LayerNorm",
    "LeakyReLU",
    "LecunNormal",
    "LecunUniform",
    "Linear",
    "Momentum",
    "Nesterov",
    "NoisyReLU",
    "NormState",
    "Orthogonal",
    "Poisson",
    "ReLU",
    "Shakeout",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "StepDecay",
    "Tanh",
    "Threshold",
    "Whiteout",
    "data",
    "errors",
    "plots",
]
