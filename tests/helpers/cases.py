"""The table: one row a case, and every generic test runs over all of them. A new rule adds a row."""

from dataclasses import dataclass, field
from typing import Any

import gdfast


@dataclass(frozen=True)
class Case:
    """An optimizer with options, and what the tests may expect of it."""

    name: str
    optimizer: type[gdfast.Optimizer]
    options: dict[str, Any] = field(default_factory=dict)
    torch: str | None = None  # PyTorch's class of the same mathematics and the same options
    quadratic_lr: float = 0.1  # what gets it down a quadratic in 500 steps
    memoryless_states: frozenset[str] = frozenset()  # states that hold nothing of the gradients before the last
    nan_spreads_to: frozenset[str] = frozenset()  # states, or "param", that one NaN fills, through the array's norm

    def make(self, params: Any, **options: Any) -> gdfast.Optimizer:
        return self.optimizer(params, **{**self.options, **options})

    def __str__(self) -> str:
        return self.name


EVERYWHERE = frozenset({"param", "momentum_buffer", "exp_avg", "exp_avg_sq"})
PREVIOUS, FIRST = frozenset({"previous_grad"}), frozenset({"x0"})

CASES = [
    Case("sgd", gdfast.SGD, {"lr": 0.02}, "SGD"),
    Case("sgd_decay", gdfast.SGD, {"lr": 0.02, "weight_decay": 0.1, "maximize": True}, "SGD"),
    Case("sgd_l1", gdfast.SGD, {"lr": 0.02, "l1": 0.3}),
    Case("momentum", gdfast.SGD, {"lr": 0.02, "momentum": 0.9}, "SGD", 0.02),
    Case("dampening", gdfast.SGD, {"lr": 0.02, "momentum": 0.8, "dampening": 0.4, "weight_decay": 0.02}, "SGD"),
    Case("nesterov", gdfast.SGD, {"lr": 0.02, "momentum": 0.9, "nesterov": True}, "SGD", 0.02),
    Case("nesterov_l1", gdfast.SGD, {"lr": 0.01, "momentum": 0.9, "nesterov": True, "l1": 0.1}),
    Case("asgd", gdfast.ASGD, {}, "ASGD"),
    Case(
        "asgd_odd",
        gdfast.ASGD,
        {"lr": 0.05, "lambd": 0.004, "alpha": 0.6, "t0": 7.5, "weight_decay": 0.02, "maximize": True},
        "ASGD",
    ),
    Case("asgd_l1", gdfast.ASGD, {"lr": 0.02, "t0": 0, "l1": 0.3}),
    Case("adagrad", gdfast.Adagrad, {"lr": 0.1}, "Adagrad", 0.5),
    Case(
        "adagrad_odd",
        gdfast.Adagrad,
        {"lr": 0.1, "lr_decay": 0.03, "weight_decay": 0.02, "initial_accumulator_value": 0.2, "eps": 1e-3},
        "Adagrad",
        2.0,
    ),
    Case("adagrad_l1", gdfast.Adagrad, {"lr": 0.1, "l1": 0.1}, None, 0.5),
    Case("rmsprop", gdfast.RMSprop, {}, "RMSprop"),
    Case("rmsprop_odd", gdfast.RMSprop, {"alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1}, "RMSprop"),
    Case("rmsprop_centered", gdfast.RMSprop, {"centered": True, "eps": 1e-4}, "RMSprop", 0.02),
    Case("rmsprop_momentum", gdfast.RMSprop, {"momentum": 0.9, "maximize": True}, "RMSprop", 0.01),
    Case(
        "rmsprop_centered_momentum",
        gdfast.RMSprop,
        {"centered": True, "momentum": 0.7, "eps": 1e-4, "weight_decay": 0.01},
        "RMSprop",
        0.01,
    ),
    Case("rmsprop_l1", gdfast.RMSprop, {"l1": 0.1}),
    Case("adadelta", gdfast.Adadelta, {}, "Adadelta", 10.0),
    Case(
        "adadelta_odd",
        gdfast.Adadelta,
        {"lr": 0.3, "rho": 0.6, "eps": 1e-3, "weight_decay": 0.1, "maximize": True},
        "Adadelta",
        1.0,
    ),
    Case("adadelta_l1", gdfast.Adadelta, {"l1": 0.1}, None, 10.0),
    Case("rprop", gdfast.Rprop, {}, "Rprop"),
    Case(
        "rprop_odd",
        gdfast.Rprop,
        {"lr": 0.5, "etas": (0.3, 1.7), "step_sizes": (1e-3, 0.2), "maximize": True},
        "Rprop",
    ),
    Case("rprop_decay", gdfast.Rprop, {"lr": 0.05, "weight_decay": 0.1}),
    Case("adam", gdfast.Adam, {}, "Adam"),
    Case("adam_odd", gdfast.Adam, {"betas": (0.5, 0.9999), "eps": 1e-3, "weight_decay": 0.1}, "Adam"),
    Case("adam_zero_betas", gdfast.Adam, {"betas": (0.0, 0.0), "lr": 0.01, "maximize": True}, "Adam", 0.01),
    Case("adam_l1", gdfast.Adam, {"lr": 0.01, "l1": 0.1}),
    Case("adam_eps_root", gdfast.Adam, {"lr": 0.01, "eps": 1e-4, "eps_root": 1e-3}),
    Case(
        "adam_eps_hat", gdfast.Adam, {"lr": 0.01, "eps": 1e-3, "eps_root": 1e-4, "eps_hat": True, "weight_decay": 0.1}
    ),
    Case("amsgrad", gdfast.Adam, {"amsgrad": True, "lr": 0.02}, "Adam"),
    Case("adamw", gdfast.AdamW, {}, "AdamW"),
    Case("adamw_odd", gdfast.AdamW, {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True, "maximize": True}, "AdamW"),
    Case("adamw_eps_root", gdfast.AdamW, {"betas": (0.8, 0.99), "weight_decay": 0.2, "eps_root": 1e-3}),
    Case("amsgrad_eps_hat", gdfast.Adam, {"amsgrad": True, "eps": 1e-3, "eps_root": 1e-3, "eps_hat": True}),
    Case("adamw_l1", gdfast.AdamW, {"lr": 0.05, "weight_decay": 0.3, "l1": 0.05}),
    Case("adamax", gdfast.Adamax, {}, "Adamax"),
    Case(
        "adamax_odd",
        gdfast.Adamax,
        {"lr": 0.05, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1, "maximize": True},
        "Adamax",
    ),
    Case("adamax_l1", gdfast.Adamax, {"lr": 0.01, "l1": 0.1}),
    Case("radam", gdfast.RAdam, {}, "RAdam"),
    Case("radam_odd", gdfast.RAdam, {"lr": 0.05, "betas": (0.5, 0.99), "eps": 1e-3, "weight_decay": 0.1}, "RAdam"),
    Case("radam_never_rectified", gdfast.RAdam, {"betas": (0.8, 0.6), "maximize": True}, "RAdam"),
    Case(
        "radam_decoupled",
        gdfast.RAdam,
        {"lr": 0.05, "betas": (0.9, 0.9999), "weight_decay": 0.3, "decoupled_weight_decay": True},
        "RAdam",
        0.5,
    ),
    Case("radam_l1", gdfast.RAdam, {"lr": 0.01, "l1": 0.1}),
    Case("nadam", gdfast.NAdam, {}, "NAdam"),
    Case(
        "nadam_odd",
        gdfast.NAdam,
        {"lr": 0.05, "betas": (0.5, 0.99), "eps": 1e-3, "weight_decay": 0.1, "momentum_decay": 0.3, "maximize": True},
        "NAdam",
    ),
    Case("nadam_zero_betas", gdfast.NAdam, {"betas": (0.0, 0.0), "momentum_decay": 0.0, "lr": 0.01}, "NAdam", 0.01),
    Case(
        "nadam_decoupled",
        gdfast.NAdam,
        {"lr": 0.05, "weight_decay": 0.3, "decoupled_weight_decay": True, "maximize": True},
        "NAdam",
    ),
    Case("nadam_l1", gdfast.NAdam, {"lr": 0.01, "l1": 0.1}),
    Case("grams", gdfast.Grams),
    Case(
        "grams_odd",
        gdfast.Grams,
        {"lr": 0.02, "betas": (0.5, 0.99), "eps": 1e-3, "weight_decay": 0.2, "maximize": True},
    ),
    Case("grams_l1", gdfast.Grams, {"lr": 0.01, "l1": 0.1}),
    Case("sign_sgd", gdfast.SignSGD, {"lr": 0.01}),
    Case("sign_sgd_odd", gdfast.SignSGD, {"lr": 0.01, "weight_decay": 0.3, "l1": 0.1, "maximize": True}),
    Case("signum", gdfast.Signum, {"lr": 0.01}),
    Case("signum_odd", gdfast.Signum, {"lr": 0.01, "beta": 0.5, "weight_decay": 0.3, "l1": 0.1}),
    Case("lion", gdfast.Lion),
    Case("lion_odd", gdfast.Lion, {"lr": 0.01, "betas": (0.5, 0.95), "weight_decay": 0.3, "maximize": True}),
    Case("yogi", gdfast.Yogi),
    Case(
        "yogi_odd",
        gdfast.Yogi,
        {"betas": (0.7, 0.99), "eps_root": 1e-4, "initial_accumulator_value": 0.1, "weight_decay": 0.1, "l1": 0.05},
    ),
    Case("adabelief", gdfast.AdaBelief),
    Case("adabelief_odd", gdfast.AdaBelief, {"lr": 0.02, "betas": (0.5, 0.99), "eps": 1e-3, "eps_root": 1e-5}),
    Case("adabelief_l1", gdfast.AdaBelief, {"lr": 0.02, "weight_decay": 0.2, "l1": 0.05, "maximize": True}),
    Case("adopt", gdfast.ADOPT),
    Case("adopt_odd", gdfast.ADOPT, {"lr": 0.02, "betas": (0.5, 0.9), "clip_exp": 0.5, "weight_decay": 0.1, "l1": 0.1}),
    Case("adopt_unclipped", gdfast.ADOPT, {"lr": 0.02, "eps": 0.1, "use_clipping": False, "maximize": True}),
    Case("qhadam", gdfast.QHAdam, {"nus": (0.7, 1.0)}),
    Case("qhadam_odd", gdfast.QHAdam, {"betas": (0.5, 0.9), "nus": (0.8, 0.6), "weight_decay": 0.1, "l1": 0.05}),
    Case(
        "qhadam_decoupled",
        gdfast.QHAdam,
        {"lr": 0.02, "nus": (0.7, 0.9), "weight_decay": 0.2, "decoupled_weight_decay": True, "maximize": True},
    ),
    Case("adopt_decoupled", gdfast.ADOPT, {"lr": 0.02, "weight_decay": 0.2, "decoupled_weight_decay": True}),
    Case("ademamix", gdfast.AdEMAMix, {}, None, 0.5),
    Case(
        "ademamix_odd",
        gdfast.AdEMAMix,
        {"lr": 0.02, "betas": (0.5, 0.99, 0.9), "alpha": 2.0, "eps_root": 1e-5, "weight_decay": 0.1, "l1": 0.02},
    ),
    Case(
        "ademamix_warmup",
        gdfast.AdEMAMix,
        {"betas": (0.9, 0.999, 0.99), "alpha_warmup": 40, "beta3_warmup": 60, "maximize": True},
    ),
    Case("ademamix_warmup_from_0", gdfast.AdEMAMix, {"lr": 0.02, "betas": (0.0, 0.9, 0.95), "beta3_warmup": 60}),
    Case("adan", gdfast.Adan, memoryless_states=PREVIOUS),
    Case(
        "adan_odd",
        gdfast.Adan,
        {"lr": 0.02, "betas": (0.9, 0.5, 0.9), "eps": 1e-3, "eps_root": 1e-5, "weight_decay": 0.1, "l1": 0.02},
        memoryless_states=PREVIOUS,
    ),
    Case("madgrad", gdfast.MADGRAD, memoryless_states=FIRST),
    Case(
        "madgrad_odd",
        gdfast.MADGRAD,
        {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.1, "eps": 1e-3},
        memoryless_states=FIRST,
    ),
    Case(
        "madgrad_l1",
        gdfast.MADGRAD,
        {"momentum": 0.0, "eps": 1e-12, "l1": 0.02, "maximize": True},
        memoryless_states=FIRST,
    ),
    Case("ftrl", gdfast.FTRL, {}, None, 0.5),
    Case(
        "ftrl_odd",
        gdfast.FTRL,
        {"lr": 0.1, "beta": 1.0, "l2": 0.02, "l1": 0.2, "initial_accumulator_value": 0.0},
        quadratic_lr=0.5,
    ),
    Case(
        "ftrl_decay",
        gdfast.FTRL,
        {"lr": 0.1, "initial_accumulator_value": 0.0, "weight_decay": 0.1, "maximize": True},
        quadratic_lr=0.5,
    ),
    Case("schedule_free_sgd", gdfast.ScheduleFreeSGD, quadratic_lr=0.5),
    Case(
        "schedule_free_sgd_odd",
        gdfast.ScheduleFreeSGD,
        {"lr": 0.1, "momentum": 0.6, "weight_decay": 0.1, "warmup_steps": 30, "r": 1.5, "l1": 0.02, "maximize": True},
        quadratic_lr=0.5,
    ),
    Case("schedule_free_adamw", gdfast.ScheduleFreeAdamW),
    Case(
        "schedule_free_adamw_odd",
        gdfast.ScheduleFreeAdamW,
        {"lr": 0.02, "betas": (0.8, 0.9), "weight_decay": 0.1, "warmup_steps": 30, "weight_lr_power": 1.0, "l1": 0.02},
    ),
    Case("lars", gdfast.LARS, {"lr": 0.5}, None, 5.0, nan_spreads_to=EVERYWHERE),
    Case(
        "lars_odd",
        gdfast.LARS,
        {"lr": 0.7, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1, "trust_coefficient": 0.01, "eps": 1e-3},
        quadratic_lr=0.5,
        nan_spreads_to=EVERYWHERE,
    ),
    Case("lars_plain", gdfast.LARS, {"momentum": 0.0, "maximize": True}, None, 50.0, nan_spreads_to=EVERYWHERE),
    Case("lars_l1", gdfast.LARS, {"l1": 0.1, "weight_decay": 0.01}, None, 5.0, nan_spreads_to=EVERYWHERE),
    Case("lars_without_trust", gdfast.LARS, {"lr": 0.01, "trust_ratio": False}, None, 0.02),
    Case("lamb", gdfast.LAMB, {"lr": 0.01}, nan_spreads_to=frozenset({"param"})),
    Case(
        "lamb_odd",
        gdfast.LAMB,
        {"lr": 0.02, "betas": (0.5, 0.99), "eps": 1e-3, "weight_decay": 0.1, "maximize": True},
        nan_spreads_to=frozenset({"param"}),
    ),
    Case("lamb_l1", gdfast.LAMB, {"weight_decay": 0.1, "l1": 0.05}, nan_spreads_to=frozenset({"param"})),
    Case("lamb_without_trust", gdfast.LAMB, {"trust_ratio": False, "weight_decay": 0.1}),
    Case("novograd", gdfast.NovoGrad, {"lr": 0.01}, nan_spreads_to=EVERYWHERE),
    Case(
        "novograd_odd",
        gdfast.NovoGrad,
        {"lr": 0.02, "betas": (0.95, 0.98), "eps": 1e-3, "weight_decay": 0.1, "maximize": True},
        quadratic_lr=0.05,
        nan_spreads_to=EVERYWHERE,
    ),
    Case("novograd_l1", gdfast.NovoGrad, {"lr": 0.01, "l1": 0.05}, nan_spreads_to=EVERYWHERE),
    Case("cautious_adamw", gdfast.CautiousAdamW),
    Case(
        "cautious_adamw_odd",
        gdfast.CautiousAdamW,
        {"lr": 0.02, "betas": (0.5, 0.99), "eps": 1e-3, "weight_decay": 0.2, "maximize": True},
    ),
    Case("cautious_adamw_plain", gdfast.CautiousAdamW, {"lr": 0.02, "weight_decay": 0.2, "rescale": False}),
    Case("cautious_adamw_l1", gdfast.CautiousAdamW, {"lr": 0.01, "l1": 0.1}),
    Case("adafactor", gdfast.Adafactor, {}, "Adafactor"),
    Case(
        "adafactor_odd",
        gdfast.Adafactor,
        {"lr": 0.5, "beta2_decay": -0.5, "eps": (1e-3, 1e-2), "d": 2.0, "weight_decay": 0.1, "maximize": True},
        "Adafactor",
        0.5,
    ),
    Case("adafactor_l1", gdfast.Adafactor, {"lr": 0.1, "l1": 0.1}),
    Case(
        "adam_centralized",
        gdfast.Adam,
        {"centralize": True, "clip_adaptive": 0.02, "weight_decay": 0.1},
        nan_spreads_to=EVERYWHERE,
    ),
]

# What is made for matrices; tests/engine/test_matrices.py runs over these.
MATRICES = [
    Case("adafactor", gdfast.Adafactor, {}, "Adafactor", 0.5),
    Case(
        "adafactor_odd",
        gdfast.Adafactor,
        {"lr": 0.5, "beta2_decay": -0.5, "eps": (1e-3, 1e-2), "d": 2.0, "weight_decay": 0.1, "maximize": True},
        "Adafactor",
        0.5,
    ),
    Case("adafactor_l1", gdfast.Adafactor, {"lr": 0.1, "l1": 0.1}),
    Case("muon", gdfast.Muon, {}, "Muon", 0.05),
    Case(
        "muon_odd",
        gdfast.Muon,
        {
            "lr": 0.1,
            "weight_decay": 0.3,
            "momentum": 0.8,
            "nesterov": False,
            "ns_coefficients": (2.0, -1.5, 0.5),
            "ns_steps": 3,
            "adjust_lr_fn": "match_rms_adamw",
        },
        "Muon",
        0.1,
    ),
    Case("muon_l1", gdfast.Muon, {"lr": 0.02, "l1": 0.1, "maximize": True}, None, 0.05),
    Case("adam_centralized", gdfast.Adam, {"centralize": True, "weight_decay": 0.1}),
    Case("adamw_clipped", gdfast.AdamW, {"clip_adaptive": 0.01}),
    Case("momentum_both", gdfast.SGD, {"momentum": 0.9, "centralize": True, "clip_adaptive": 0.05, "l1": 0.01}),
    Case("lamb_both", gdfast.LAMB, {"centralize": True, "clip_adaptive": 0.05, "weight_decay": 0.1}),
    Case("adafactor_both", gdfast.Adafactor, {"centralize": True, "clip_adaptive": 0.05}),
    Case("muon_both", gdfast.Muon, {"centralize": True, "clip_adaptive": 0.05}),
]
