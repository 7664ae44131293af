"""The same matrix factorisation in NumPy: the operations of factorize.pyx, in the same order."""

import numpy as np

import gdfast


def epoch(opt, users, items, of_user, of_item, ratings, penalty):
    loss = 0.0
    for user, item, rating in zip(of_user, of_item, ratings, strict=True):
        p, q = users[user], items[item]
        error = np.cumsum(np.concatenate(([-rating], p * q)))[-1]
        user_grad, item_grad = error * q + penalty * p, error * p + penalty * q
        opt.step(
            {
                "users": gdfast.Rows(np.array([user]), user_grad[None]),
                "items": gdfast.Rows(np.array([item]), item_grad[None]),
            }
        )
        loss += float(error * error)
    return loss
