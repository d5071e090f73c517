"""Weights of 5000 rows and 50 columns. The floor reads x and y once; its FLOPs are those of x^T x."""

from functools import partial

import numpy as np
import torch

from dojo.testing.bench import work


def drawn(bench, *shape):
    return bench.randn(*shape, dtype=torch.float64).cpu().numpy()


def weights_of(fit, *arguments):
    return torch.from_numpy(fit(*arguments)[0])


def normal_equations(x, y, l2):
    a = x - x.mean(0)
    return torch.from_numpy(np.linalg.solve(a.T @ a + len(y) * l2 * np.eye(x.shape[1]), a.T @ (y - y.mean())))


def rows_for_the_penalty(x, y, l2):
    d = x.shape[1]
    a = np.vstack([x - x.mean(0), np.sqrt(len(y) * l2) * np.eye(d)])
    return torch.from_numpy(np.linalg.lstsq(a, np.append(y - y.mean(), np.zeros(d)))[0])


def ridge_of_sklearn(x, y, l2):
    from sklearn.linear_model import Ridge

    return lambda: torch.from_numpy(Ridge(alpha=len(y) * l2).fit(x, y).coef_)


@work(rows=5000, columns=50, sweep={"rows": (500,), "columns": (10, 100)}, tiny={"rows": 100, "columns": 5})
def linear(bench, rows, columns):
    """The weights of fit_linear with a penalty."""
    x = drawn(bench, rows, columns)
    y = x @ drawn(bench, columns) + drawn(bench, rows)
    bench.katas(lambda kata: partial(weights_of, kata.fit_linear, x, y, 0.1))
    bench.way("normal equations", partial(normal_equations, x, y, 0.1))
    bench.way("rows for the penalty, lstsq", partial(rows_for_the_penalty, x, y, 0.1))
    bench.peer("sklearn", lambda: ridge_of_sklearn(x, y, 0.1))
    bench.same(rtol=1e-7)
    bench.floor(bytes=x.nbytes + y.nbytes, flops=2 * rows * columns**2)


def logistic_of_sklearn(x, y, l2):
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1 / (len(y) * l2), solver="newton-cholesky", tol=1e-10)
    return lambda: torch.from_numpy(model.fit(x, y).coef_[0])


@work(rows=5000, columns=50, sweep={"rows": (500,), "columns": (10, 100)}, tiny={"rows": 100, "columns": 5})
def logistic(bench, rows, columns):
    """The weights of fit_logistic, some steps of Newton's method."""
    x = drawn(bench, rows, columns)
    y = (x @ drawn(bench, columns) / columns**0.5 + drawn(bench, rows) > 0).astype(np.float64)
    bench.katas(lambda kata: partial(weights_of, kata.fit_logistic, x, y, 0.1))
    bench.peer("sklearn", lambda: logistic_of_sklearn(x, y, 0.1))
    bench.same(rtol=1e-5)
    bench.floor(bytes=x.nbytes + y.nbytes, flops=2 * rows * columns**2)
