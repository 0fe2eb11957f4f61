"""fastnn: the fastest way to train multilayer perceptrons in Python."""

from fastnn import data, errors, plots
from fastnn.activations import ELU, LeakyReLU, Linear, ReLU, Sigmoid, Softmax, Softplus, Tanh, Threshold
from fastnn.averaging import EMA
from fastnn.callbacks import Callback, EarlyStopping
from fastnn.clipping import ClipNorm, ClipValue
from fastnn.errors import DivergenceError, FastnnError, FileError, InputError
from fastnn.initializers import GlorotNormal, GlorotUniform, HeNormal, HeUniform
from fastnn.layers import Dense
from fastnn.losses import MAE, MSE, BinaryCrossEntropy, CrossEntropy, CustomLoss, HalfMSE, Huber, Poisson
from fastnn.network import MLP
from fastnn.optimizers import SGD, Adagrad, Adam, AdamW, AMSGrad, Momentum, NAdam, Nesterov, RMSprop
from fastnn.penalties import L1, L1L2, L2
from fastnn.range_test import RangeTest
from fastnn.schedules import Constant, Cosine, Exponential, InverseTime, OneCycle, ReduceOnPlateau, StepDecay
from fastnn.training import History

__version__ = "0.1.0"

__all__ = [
    "ELU",
    "EMA",
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
    "BinaryCrossEntropy",
    "Callback",
    "ClipNorm",
    "ClipValue",
    "Constant",
    "Cosine",
    "CrossEntropy",
    "CustomLoss",
    "Dense",
    "DivergenceError",
    "EarlyStopping",
    "Exponential",
    "FastnnError",
    "FileError",
    "GlorotNormal",
    "GlorotUniform",
    "HalfMSE",
    "HeNormal",
    "HeUniform",
    "History",
    "Huber",
    "InputError",
    "InverseTime",
    "LeakyReLU",
    "Linear",
    "Momentum",
    "NAdam",
    "Nesterov",
    "OneCycle",
    "Poisson",
    "RMSprop",
    "RangeTest",
    "ReLU",
    "ReduceOnPlateau",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "StepDecay",
    "Tanh",
    "Threshold",
    "data",
    "errors",
    "plots",
]
