"""Computes vectors.json with scipy, numpy and statsmodels: pip install scipy statsmodels; python vectors.py"""
import json
import math

import numpy as np
import statsmodels.api as sm
from scipy import integrate, stats
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

random = np.random.default_rng(20260115)
ALPHA, TUNED_FOR = 0.05, 5000.0


def lift_interval(control, treatment):
    """By the delta method with numerical derivatives of f(a, b) = (b - a) / |a|."""
    a, b = control.mean(), treatment.mean()
    va, vb = control.var(ddof=1) / len(control), treatment.var(ddof=1) / len(treatment)
    f = lambda a, b: (b - a) / abs(a)
    h = 1e-6 * max(1.0, abs(a))
    da, db = (f(a + h, b) - f(a - h, b)) / (2 * h), (f(a, b + h) - f(a, b - h)) / (2 * h)
    degrees = (va + vb) ** 2 / (va**2 / (len(control) - 1) + vb**2 / (len(treatment) - 1))
    reach = stats.t.ppf(1 - ALPHA / 2, degrees) * math.sqrt(da**2 * va + db**2 * vb)
    return f(a, b), f(a, b) - reach, f(a, b) + reach


def sequential(control, treatment):
    """The likelihood ratio of the mixture by numerical integration; the interval by bisection on it."""
    people = len(control) + len(treatment)
    v = control.var(ddof=1) / len(control) + treatment.var(ddof=1) / len(treatment)
    log = -2 * math.log(ALPHA)
    tau2 = v * people * (log + math.log(log + 1)) / TUNED_FOR
    def ratio(d):
        peak = d * tau2 / (v + tau2)
        width = math.sqrt(v * tau2 / (v + tau2))
        inner = lambda theta: math.exp(stats.norm.logpdf(d, theta, math.sqrt(v)) - stats.norm.logpdf(d, 0, math.sqrt(v))
                                       + stats.norm.logpdf(theta, 0, math.sqrt(tau2)))
        return integrate.quad(inner, peak - 12 * width, peak + 12 * width, epsabs=0, epsrel=1e-12, limit=500)[0]
    d = treatment.mean() - control.mean()
    low, high = 0.0, 40 * math.sqrt(v)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if ratio(middle) < 1 / ALPHA else (low, middle)
    return min(1.0, 1 / ratio(d)), d - low, d + low


cases = []
for n0, n1, shift, kind in [(12, 15, 0.5, "normal"), (200, 180, 0.2, "normal"), (1000, 1100, 0.0, "money"),
                            (500, 500, 3.0, "money"), (400, 420, 0.03, "binary"), (2, 3, 0.1, "normal"), (3000, 900, -0.1, "normal")]:
    x0, x1 = random.gamma(2.0, 10.0, n0), random.gamma(2.0, 10.0, n1)
    if kind == "normal":
        y0, y1 = 5 + 0.1 * x0 + random.normal(0, 1, n0), 5 + shift + 0.1 * x1 + random.normal(0, 1, n1)
    elif kind == "money":
        y0, y1 = random.gamma(0.5, 20.0, n0) + 0.8 * x0, random.gamma(0.5, 20.0, n1) + 0.8 * x1 + shift
    else:
        y0, y1 = (random.random(n0) < 0.2).astype(float), (random.random(n1) < 0.2 + shift).astype(float)
    y0, y1, x0, x1 = (np.round(v, 3) for v in (y0, y1, x0, x1))
    p = stats.ttest_ind(y1, y0, equal_var=False).pvalue
    interval = CompareMeans(DescrStatsW(y1), DescrStatsW(y0)).tconfint_diff(alpha=ALPHA, usevar="unequal")
    # The effect in a regression on variant and covariate is the difference of the adjusted means.
    design = sm.add_constant(np.column_stack([np.r_[np.zeros(n0), np.ones(n1)], np.r_[x0, x1]]))
    regression = sm.OLS(np.r_[y0, y1], design).fit()
    slope = regression.params[2]
    a0, a1 = y0 - slope * x0, y1 - slope * x1
    cases.append({
        "control": {"y": y0.tolist(), "x": x0.tolist()}, "treatment": {"y": y1.tolist(), "x": x1.tolist()},
        "p_value": p, "difference": [y1.mean() - y0.mean(), *interval], "lift": lift_interval(y0, y1),
        "sequential": sequential(y0, y1), "slope": slope, "adjusted_difference": regression.params[1],
        "adjusted_variances": [a0.var(ddof=1), a1.var(ddof=1)],
        "adjusted_p_value": stats.ttest_ind(a1, a0, equal_var=False).pvalue,
    })
ratios = []
for counts, shares in [([500, 500], [50, 50]), ([5021, 4979], [50, 50]), ([5300, 4700], [50, 50]), ([10, 20, 30], [1, 2, 3]),
                       ([33400, 33100, 33500], [33.34, 33.33, 33.33]), ([90, 10], [80, 20]), ([1, 0], [50, 50]), ([100000, 101000], [1, 1])]:
    expected = np.array(shares) / sum(shares) * sum(counts)
    ratios.append({"counts": counts, "shares": shares, "p_value": stats.chisquare(counts, expected).pvalue})
with open("vectors.json", "w") as out:
    json.dump({"comparisons": cases, "ratios": ratios}, out)
