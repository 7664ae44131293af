"""Schedules

Learning rates over the steps of a training.
"""

from gdfast import plot, schedules

chosen = [
    schedules.Cosine(0.1, total_steps=500, warmup_steps=50),
    schedules.Exponential(0.1, 0.99),
    schedules.OneCycle(0.1, total_steps=500),
    schedules.WarmupStableDecay(0.1, total_steps=500, warmup_steps=50, decay_steps=150),
]
figure = plot.schedules(chosen, 500).figure
