FORBIDDEN = ("sklearn.linear_model", "scipy.optimize", "scipy.linalg", "scipy.special", "scipy.stats")
