"""What any right search does. Points drawn at random are never compared with given ones: only ranges and distributions."""

from katas.hyperparameter_search import bayesian_search, grid_search, random_search

SPACE = {"lr": [0.3, 0.1, 0.2], "depth": [4, 2], "act": ["relu", "gelu"]}
RANGES = {"x": (-1.0, 3.0), "y": ("log", 1e-4, 1e-1)}
SEARCHES = {
    "grid_search": lambda objective: grid_search(objective, {"x": [2.0, 0.5, 1.0], "y": [1.5, -1.0]}),
    "random_search": lambda objective: random_search(objective, {"x": (-2.0, 1.0), "y": (0.0, 2.0)}, 9, seed=3),
    "bayesian_search": lambda objective: bayesian_search(objective, {"x": (-2.0, 1.0), "y": (0.0, 2.0)}, 9, seed=3),
}


def loss(params):
    return 2 * params["x"] - 3 * params["y"] + params["x"] * params["y"]
