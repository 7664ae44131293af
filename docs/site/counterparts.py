"""Where the counterpart of a public name is documented: PyTorch's, scikit-learn's and optax's pages."""

TORCH = "https://docs.pytorch.org/docs/stable/generated/torch.optim.{}.html"
TORCH_SCHEDULER = "https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.{}.html"
SKLEARN = "https://scikit-learn.org/stable/modules/generated/sklearn.{}.html"
OPTAX = "https://optax.readthedocs.io/en/latest/api/optimizers.html#optax.{}"
OPTAX_SCHEDULE = "https://optax.readthedocs.io/en/latest/api/optimizer_schedules.html#optax.schedules.{}"

#: name -> (name in torch.optim, name in optax), None where there is none
OPTIMIZERS = {
    "ADOPT": (None, "contrib.adopt"),
    "ASGD": ("ASGD", None),
    "AdEMAMix": (None, "contrib.ademamix"),
    "AdaBelief": (None, "adabelief"),
    "Adadelta": ("Adadelta", "adadelta"),
    "Adafactor": ("Adafactor", "adafactor"),
    "Adagrad": ("Adagrad", "adagrad"),
    "Adam": ("Adam", "adam"),
    "AdamW": ("AdamW", "adamw"),
    "Adamax": ("Adamax", "adamax"),
    "Adan": (None, "adan"),
    "LAMB": (None, "lamb"),
    "LARS": (None, "lars"),
    "LBFGS": ("LBFGS", "lbfgs"),
    "Lion": (None, "lion"),
    "Lookahead": (None, "lookahead"),
    "Muon": ("Muon", "contrib.muon"),
    "NAdam": ("NAdam", "nadam"),
    "NovoGrad": (None, "novograd"),
    "RAdam": ("RAdam", "radam"),
    "RMSprop": ("RMSprop", "rmsprop"),
    "Rprop": ("Rprop", "rprop"),
    "SGD": ("SGD", "sgd"),
    "ScheduleFreeAdamW": (None, "contrib.schedule_free_adamw"),
    "ScheduleFreeSGD": (None, "contrib.schedule_free_sgd"),
    "SignSGD": (None, "sign_sgd"),
    "SparseAdam": ("SparseAdam", None),
    "Yogi": (None, "yogi"),
}

#: name -> (name in torch.optim.lr_scheduler, name in optax.schedules)
SCHEDULES = {
    "Constant": ("ConstantLR", "constant_schedule"),
    "Cosine": ("CosineAnnealingLR", "warmup_cosine_decay_schedule"),
    "CosineRestarts": ("CosineAnnealingWarmRestarts", "sgdr_schedule"),
    "Cyclic": ("CyclicLR", None),
    "Exponential": ("ExponentialLR", "exponential_decay"),
    "Join": ("SequentialLR", "join_schedules"),
    "Linear": ("LinearLR", "linear_schedule"),
    "MultiStep": ("MultiStepLR", "piecewise_constant_schedule"),
    "OneCycle": ("OneCycleLR", "cosine_onecycle_schedule"),
    "Piecewise": (None, "piecewise_interpolate_schedule"),
    "Polynomial": ("PolynomialLR", "polynomial_schedule"),
    "ReduceOnPlateau": ("ReduceLROnPlateau", None),
    "StepDecay": ("StepLR", None),
}

OTHERS = {
    "gdfast.Optimizer": {
        "torch.optim.Optimizer": "https://docs.pytorch.org/docs/stable/optim.html#torch.optim.Optimizer"
    },
    "gdfast.clip_by_global_norm": {
        "torch.nn.utils.clip_grad_norm_": "https://docs.pytorch.org/docs/stable/generated/"
        "torch.nn.utils.clip_grad_norm_.html"
    },
    "gdfast.get_num_threads": {
        "torch.get_num_threads": "https://docs.pytorch.org/docs/stable/generated/torch.get_num_threads.html"
    },
    "gdfast.set_num_threads": {
        "torch.set_num_threads": "https://docs.pytorch.org/docs/stable/generated/torch.set_num_threads.html"
    },
    "gdfast.save": {"torch.save": "https://docs.pytorch.org/docs/stable/generated/torch.save.html"},
    "gdfast.load": {"torch.load": "https://docs.pytorch.org/docs/stable/generated/torch.load.html"},
    "gdfast.mpi.sharded": {
        "torch.distributed.optim.ZeroRedundancyOptimizer": "https://docs.pytorch.org/docs/stable/distributed.optim.html"
    },
    "gdfast.torch.Optimizer": {
        "torch.optim.Optimizer": "https://docs.pytorch.org/docs/stable/optim.html#torch.optim.Optimizer"
    },
    "gdfast.sklearn.GDClassifier": {
        f"sklearn.linear_model.{name}": SKLEARN.format(f"linear_model.{name}")
        for name in ("SGDClassifier", "LogisticRegression")
    },
    "gdfast.sklearn.GDRegressor": {
        f"sklearn.linear_model.{name}": SKLEARN.format(f"linear_model.{name}") for name in ("SGDRegressor", "Ridge")
    },
    "gdfast.sklearn.MLPClassifier": {
        "sklearn.neural_network.MLPClassifier": SKLEARN.format("neural_network.MLPClassifier")
    },
    "gdfast.sklearn.MLPRegressor": {
        "sklearn.neural_network.MLPRegressor": SKLEARN.format("neural_network.MLPRegressor")
    },
}


def of(module: str, name: str) -> dict[str, str]:
    """Return the counterparts of a public name: their names with the addresses of their pages."""
    found: dict[str, str] = {}
    if module in ("gdfast", "gdfast.torch"):
        torch, optax = OPTIMIZERS.get(name, (None, None))
        found |= {f"torch.optim.{torch}": TORCH.format(torch)} if torch else {}
        page = OPTAX.replace("optimizers", "contrib") if optax and optax.startswith("contrib.") else OPTAX
        found |= {f"optax.{optax}": page.format(optax)} if optax else {}
    if module == "gdfast.schedules":
        torch, optax = SCHEDULES.get(name, (None, None))
        found |= {f"torch.optim.lr_scheduler.{torch}": TORCH_SCHEDULER.format(torch)} if torch else {}
        found |= {f"optax.schedules.{optax}": OPTAX_SCHEDULE.format(optax)} if optax else {}
    return found | OTHERS.get(f"{module}.{name}", {})
