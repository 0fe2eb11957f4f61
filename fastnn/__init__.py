"""fastnn: the fastest way to train multilayer perceptrons in Python."""

from fastnn import augment, data, errors, plots
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
from fastnn.averaging import EMA
from fastnn.callbacks import Callback, EarlyStopping
from fastnn.clipping import ClipNorm, ClipValue
from fastnn.custom import CustomActivation, CustomLoss
from fastnn.data.split import train_test_split
from fastnn.devices import Cuda
from fastnn.diagnostics import Diagnosis, Diagnostics, LayerDiagnosis, diagnose
from fastnn.errors import DivergenceError, FastnnError, FileError, FunctionError, InputError
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
from fastnn.optimizers import SGD, Adagrad, Adam, AdamW, AMSGrad, Momentum, NAdam, Nesterov, RMSprop
from fastnn.penalties import L1, L1L2, L2
from fastnn.range_test import RangeTest
from fastnn.schedules import Constant, Cosine, Exponential, InverseTime, OneCycle, ReduceOnPlateau, StepDecay
from fastnn.training import History

__version__ = "0.1.0"

__all__ = [
    "ELU",
    "EMA",
    "GELU",
    "L1",
    "L1L2",
    "L2",
    "MAE",
    "MLP",
    "MSE",
    "SGD",
    "AMSGrad",
    "Adagrad",
    "Adam",
    "AdamW",
    "BatchNorm",
    "BinaryCrossEntropy",
    "Callback",
    "ClipNorm",
    "ClipValue",
    "Constant",
    "Cosine",
    "CrossEntropy",
    "Cuda",
    "CustomActivation",
    "CustomLoss",
    "Dense",
    "Diagnosis",
    "Diagnostics",
    "DivergenceError",
    "DropConnect",
    "Dropout",
    "EarlyStopping",
    "Exponential",
    "FastnnError",
    "FileError",
    "FunctionError",
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
    "LayerDiagnosis",
    "LayerNorm",
    "LeakyReLU",
    "LecunNormal",
    "LecunUniform",
    "Linear",
    "Momentum",
    "NAdam",
    "Nesterov",
    "NoisyReLU",
    "NormState",
    "OneCycle",
    "Orthogonal",
    "Poisson",
    "RMSprop",
    "RangeTest",
    "ReLU",
    "ReduceOnPlateau",
    "Shakeout",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "StepDecay",
    "Tanh",
    "Threshold",
    "Whiteout",
    "augment",
    "data",
    "diagnose",
    "errors",
    "plots",
    "train_test_split",
]
