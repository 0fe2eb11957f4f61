"""The command line as a user runs it: a process, its exit code, what it prints and the files it leaves."""

import csv
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import fastnn as fn
from fastnn import cli
from fastnn.data import digits, train_test_split

QUICK = ("--layers", "16", "--epochs", "3")


def fastnn(*arguments, folder, code=0):
    """Run the command line; its stdout where it should succeed, else its stderr."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-m", "fastnn", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr if code else result.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which `fastnn train` ran, and what it printed."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, fastnn("train", folder=folder)


@pytest.fixture
def table(tmp_path):
    """A CSV table with a linear target in large units, and text labels that follow from it."""
    random = np.random.Generator(np.random.Philox(3))
    X = random.normal(size=(400, 3))
    price = 5e4 + 1e4 * (X @ [1.0, -2.0, 0.5])
    for name, target in (("price", price), ("kind", np.where(price > 5e4, "dear", "cheap"))):
        with (tmp_path / f"{name}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([["a", "b", "c", name], *([*x, t] for x, t in zip(X, target, strict=True))])
    return tmp_path


def test_augments_images_and_adds_noise_to_anything(tmp_path, table):
    fastnn("train", *QUICK, "--augment", "rotate=10,shift=0.5", folder=tmp_path)
    fastnn("train", "price.csv", *QUICK, "--augment", "noise=0.1", folder=table)
    assert "no images" in fastnn("train", "price.csv", *QUICK, "--augment", "shift=1", folder=table, code=1)
    assert "no augmentation" in fastnn("train", *QUICK, "--augment", "spin=1", folder=tmp_path, code=2)


def number(pattern, text):
    found = re.search(pattern + r" ([\d.]+)", text)
    assert found, text
    return float(found[1])


def test_train_learns_the_digits_and_writes_both_files(trained):
    folder, out = trained
    assert number("test accuracy", out) >= 0.97
    assert "model.safetensors" in out
    assert "learning_curves.png" in out
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "learning_curves.png"}
    assert (folder / "learning_curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_model_is_the_one_that_was_tested(trained):
    folder, out = trained
    _, X_test, _, y_test = train_test_split(*digits(), test=0.2, seed=0)
    net = fn.MLP.load(folder / "model.safetensors")
    assert round(net.evaluate(X_test, y_test)["accuracy"], 4) == number("test accuracy", out)
    assert number("accuracy", fastnn("evaluate", "model.safetensors", folder=folder)) == number("test accuracy", out)


def test_predict_writes_labels_and_probabilities(trained, tmp_path):
    folder, _ = trained
    fastnn("predict", "model.safetensors", "digits", "--output", tmp_path / "p.csv", folder=folder)
    with (tmp_path / "p.csv").open(newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["class", *map(str, range(10))]
    outputs = np.array(rows, dtype=float)[:, 1:]
    np.testing.assert_allclose(outputs.sum(axis=1), 1, atol=1e-5)
    assert [row[0] for row in rows] == outputs.argmax(axis=1).astype(str).tolist()
    assert (outputs.argmax(axis=1) == digits()[1]).mean() >= 0.97


def test_same_seed_same_model(tmp_path):
    for name in ("a", "b"):
        fastnn("train", *QUICK, "--seed", 5, "--model", name, "--quiet", folder=tmp_path)
    first, second = (fn.MLP.load(tmp_path / name).weights for name in ("a", "b"))
    for (W, b), (W2, b2) in zip(first, second, strict=True):
        np.testing.assert_array_equal(W, W2)
        np.testing.assert_array_equal(b, b2)


def test_dropout_of_the_hidden_layers(tmp_path):
    fastnn("train", *QUICK, "--dropout", "0.2", folder=tmp_path)
    assert [layer.dropout for layer in fn.MLP.load(tmp_path / "model.safetensors").layers] == [fn.Dropout(0.2), None]


def test_quiet_prints_nothing(tmp_path):
    assert fastnn("train", *QUICK, "--quiet", folder=tmp_path) == ""


def test_regression_in_the_units_of_the_target(table):
    out = fastnn("train", "price.csv", "--layers", "16", "--epochs", 100, "--batch-size", 16, folder=table)
    assert number(r"test R\^2", out) >= 0.99
    out = fastnn("evaluate", "model.safetensors", "price.csv", folder=table)
    assert number(r"R\^2", out) >= 0.99
    fastnn("predict", "model.safetensors", "price.csv", folder=table)
    predicted = np.loadtxt(table / "predictions.csv", delimiter=",", skiprows=1)
    assert (table / "predictions.csv").read_text().startswith("output_1\n")
    assert abs(predicted.mean() - 5e4) < 2e3


def test_counts_are_learned_and_predicted_as_counts(tmp_path):
    random = np.random.Generator(np.random.Philox(5))
    X = random.uniform(-1, 1, size=(600, 2))
    counts = random.poisson(np.exp(X @ [1.0, -1.0] + 3))
    with (tmp_path / "counts.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["a", "b", "n"], *([*x, n] for x, n in zip(X, counts, strict=True))])
    options = ("--task", "regress", "--loss", "poisson", "--layers", "16", "--epochs", 60, "--learning-rate", 0.01)
    out = fastnn("train", "counts.csv", *options, folder=tmp_path)
    assert number(r"test R\^2", out) >= 0.8
    assert "deviation" not in out
    fastnn("predict", "model.safetensors", "counts.csv", folder=tmp_path)
    predicted = np.loadtxt(tmp_path / "predictions.csv", delimiter=",", skiprows=1)
    assert predicted.mean() == pytest.approx(counts.mean(), rel=0.1)


def test_text_labels_and_tables_of_features_alone(table):
    out = fastnn("train", "kind.csv", *QUICK, "--epochs", 60, "--target", "kind", folder=table)
    assert number("test accuracy", out) >= 0.9
    lines = (table / "kind.csv").read_text().splitlines()
    (table / "new.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines))
    fastnn("predict", "model.safetensors", "new.csv", folder=table)
    with (table / "predictions.csv").open(newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["class", "cheap", "dear"]
    assert np.mean([row[0] == line.rpartition(",")[2] for row, line in zip(rows, lines[1:], strict=True)]) >= 0.9


def test_info_names_machine_versions_and_cache(tmp_path):
    facts = dict(line.split(maxsplit=1) for line in fastnn("info", folder=tmp_path).splitlines())
    assert facts["numpy"] == np.__version__
    assert {"fastnn", "python", "numba", "llvmlite", "processor", "vector", "tile", "cache"} <= facts.keys()


PREDICTED = ("info", "--device", "cuda", "--network", "784-512-512-10")


def test_info_predicts_a_step_on_a_gpu_kernel_by_kernel(tmp_path):
    lines = fastnn(*PREDICTED, "--batch", 64, "--optimizer", "sgd", "--gpu", "h100", folder=tmp_path).splitlines()
    assert lines[1].startswith("PREDICTION")
    assert "nothing of it was measured" in lines[1]
    rows = [re.split(r"  +", line) for line in lines[3 : lines.index("", 3)]]
    names = ["begin", "gather", "feed 1", "feed 2", "feed 3", "losses", "delta 2", "delta 1"]
    names += ["gradient 1", "gradient 2", "gradient 3", "update", "finish", "a step"]
    assert [row[0] for row in rows[1:]] == names
    *kernels, total = (float(row[-2].replace(",", "")) for row in rows[1:])
    assert total == pytest.approx(sum(kernels), abs=0.05 * (1 + len(kernels)))
    speed = float(re.search(r"predicted +([\d,]+) samples/s", "\n".join(lines))[1].replace(",", ""))
    assert speed == pytest.approx(64e6 / total, rel=0.1 / total)
    assert "state 0.0 MiB" in lines[-1]


def test_info_predicts_totals_of_all_known_gpus(tmp_path):
    lines = fastnn(*PREDICTED, "--dtype", "float64", folder=tmp_path).splitlines()
    assert lines[1].startswith("PREDICTION")
    assert [line.split()[0] for line in lines[4 : lines.index("", 3)]] == [
        "t4",
        "a100",
        "h100",
        "b200",
        "rtx4090",
        "rtx5090",
    ]
    large = fastnn(*PREDICTED[:-1], "50000-50000-10", folder=tmp_path)
    assert re.search(r"t4 .*does not fit", large)
    assert "does not fit" not in re.search(r"b200 .*", large)[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*PREDICTED, "--gpu", "h10"), "unknown GPU 'h10'; did you mean 'h100'?"),
        ((*PREDICTED, "--optimizer", "adm"), "did you mean 'adam'?"),
        ((*PREDICTED, "--dtype", "float16"), 'dtype must be "float32" or "float64"'),
        ((*PREDICTED, "--batch", "0"), "--batch must be a whole number, 1 or more"),
        ((*PREDICTED[:-1], "784,10"), "as in 784-512-512-10, got '784,10'"),
        ((*PREDICTED[:-1], "50000-50000-10", "--gpu", "t4"), "but the T4 has 16: not even one sample"),
        (("info", "--device", "cdua"), "did you mean 'cuda'?"),
        (("info", "--network", "8-2"), "give --device cuda, not cpu"),
        (("info", "--gpu", "h100"), "give --network"),
    ],
)
def test_info_says_what_cannot_be_predicted(tmp_path, arguments, message):
    assert message in fastnn(*arguments, folder=tmp_path, code=1)


@pytest.mark.parametrize("optimizer", ["adamw", "rmsprop", "nadam", "amsgrad", "adagrad"])
def test_optimizers_and_clipping(optimizer, tmp_path):
    options = ("--optimizer", optimizer, "--learning-rate", "0.005", "--clip-norm", "1", "--quiet")
    fastnn("train", *QUICK, *options, folder=tmp_path)
    assert (tmp_path / "model.safetensors").is_file()


@pytest.fixture
def called(monkeypatch, capsys):
    """Calls the command line in this process; gives its exit code and what it wrote to stderr."""

    def call(arguments, folder):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["fastnn", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code, capsys.readouterr().err

    return call


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nowhere.csv"], "there is no 'nowhere.csv'; a source is 'digits', a folder"),
        (["train", "--model", "nowhere/m"], "cannot write nowhere/m: there is no folder nowhere"),
        (["train", "--curves", "."], "cannot write .: it is a folder"),
        (["train", "--activation", "rleu"], "unknown activation 'rleu'; did you mean 'relu'"),
        (["train", "--optimizer", "adm"], "unknown optimizer 'adm'; did you mean 'adam'"),
        (["train", "--schedule", "cosin"], "unknown schedule 'cosin'; did you mean 'cosine'"),
        (["train", "--normalize", "standart"], "unknown normalization 'standart'"),
        (["train", "--task", "clasify"], "unknown task 'clasify'; did you mean 'classify'"),
        (["train", "--epochs", "0"], "epochs must be a whole number, 1 or more, got 0"),
        (["train", "kind.csv", "--task", "regress"], "regression needs numbers to predict; the target holds '"),
        (["train", "price.csv", "--task", "classify"], "classes must be integers or strings; the target holds "),
        (["train", "kind.csv", "--target", "kindd"], "unknown target column 'kindd'; did you mean 'kind'"),
        (["train", "count.csv"], "the target holds 400 different integers in 400 rows"),
        (["train", "one.csv"], "one.csv holds one class only: 7"),
        (["evaluate", "nowhere.safetensors"], "there is no file nowhere.safetensors"),
        (["evaluate", "price.csv"], "price.csv is damaged or no fastnn model"),
        (["train", "price.csv", "--norm", "group"], "unknown norm 'group'"),
        (["predict", "price.csv", "price.csv", "--output", "."], "cannot write .: it is a folder"),
        (["train", "--model", "m", "--curves", "./m"], "--curves would overwrite --model: m"),
        (["train", "kind.csv", "--model", "kind.csv"], "--model would overwrite the source: kind.csv"),
        (["predict", "m", "price.csv", "--output", "price.csv"], "--output would overwrite the source: price.csv"),
        (["predict", "m", "price.csv", "--output", "m"], "--output would overwrite the model: m"),
        (["bench", "--json", "a", "--plot", "a"], "--plot would overwrite --json: a"),
        (["train", "unseen.npz"], "in the test part: y[1] = 2 is none of the classes 0, 1"),
        (["train", "narrow.npz"], "in the test part: X must have the shape (samples, 2), got (2, 1)"),
        (["train", "nan.npz", "--task", "regress"], "y[2, 0] = nan is not finite"),
    ],
)
def test_errors_are_one_line_before_any_file_is_written(called, table, arguments, message):
    (table / "count.csv").write_text("\n".join(f"{i},{i}" for i in range(400)))
    (table / "one.csv").write_text("1,7\n2,7\n")
    X, y, numbers = np.eye(6)[:, :2], np.arange(6) % 2, np.where(np.arange(6) == 2, np.nan, 1.0)
    np.savez(table / "unseen.npz", x_train=X, y_train=y, x_test=X[:2], y_test=np.array([0, 2]))
    np.savez(table / "narrow.npz", x_train=X, y_train=y, x_test=X[:2, :1], y_test=y[:2])
    np.savez(table / "nan.npz", x_train=X, y_train=numbers, x_test=X[:2], y_test=numbers[:2])
    before = set(table.iterdir())
    code, err = called(arguments, table)
    assert (code, err.count("\n"), err[: len(message) + 7]) == (1, 1, f"error: {message}")
    assert set(table.iterdir()) == before


def test_norm_of_the_hidden_layers(tmp_path):
    fastnn("train", *QUICK, "--norm", "batch", folder=tmp_path)
    assert [layer.norm for layer in fn.MLP.load(tmp_path / "model.safetensors").layers] == [fn.BatchNorm(), None]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["train", "--layers", "12,x"], "--layers"),
        (["train", "--batch-size", "0"], "--batch-size"),
        (["train", "--penalty", "l3=1"], "--penalty"),
        (["train", "--clip-norm", "0"], "--clip-norm"),
        (["train", "--test", "1.5"], "--test"),
        (["train", "--epochs", "many"], "--epochs"),
        (["paint"], "paint"),
    ],
)
def test_wrong_usage(called, tmp_path, arguments, named):
    code, err = called(arguments, tmp_path)
    assert code == 2
    assert named in err


def test_mnist(mnist, tmp_path):
    """Three epochs on the real images; the ten of the default reach 0.983."""
    out = fastnn("train", mnist, "--epochs", 3, folder=tmp_path)
    assert number("test accuracy", out) >= 0.975
    assert "on 10,000 samples" in out


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_interrupt_saves_the_model_so_far(trained, tmp_path):
    command = [sys.executable, "-m", "fastnn", "train", "--epochs", "1000000"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = next(line for line in process.stderr if line.startswith("epoch"))
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130, first + rest
    assert "stopped; the model so far is in model.safetensors" in rest
    assert "Traceback" not in rest
    _, X_test, _, y_test = train_test_split(*digits(), test=0.2, seed=0)
    assert fn.MLP.load(tmp_path / "model.safetensors").evaluate(X_test, y_test)["accuracy"] > 0.5
