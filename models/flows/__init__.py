"""Flow matching: path, objective, guidance, samplers."""

STOCHASTIC = frozenset({"euler_maruyama", "sde_heun"})  # samplers of the SDE; the others follow the ODE
